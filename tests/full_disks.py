"""Real file systems of a few kilobytes, for tests of what happens when a disk is full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of this size in memory, mounted at `path`; the test is skipped where it cannot be mounted."""
    path.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.name == "nt" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here (that needs Linux and root)")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)  # W&B's process may still have a log file open


def enlarge(path: Path, size: str = "64m") -> None:
    """Make space on a disk."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(path)], check=True)
