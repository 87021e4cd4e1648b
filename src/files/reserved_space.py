"""Space on the disk that is held while a run goes on, so that its summary can be written when the disk is full."""

import os
from pathlib import Path

from start_training.files.disk_errors import DiskError, named_disk_errors

NAME = ".reserve"
SIZE = 16_384  # bytes; a summary has about 3,000


def reserve_space(directory: Path) -> None:
    """Write a file of `SIZE` bytes into a directory. If its disk is full, raise DiskError and leave no file."""
    path = directory / NAME
    try:
        with named_disk_errors(path):
            path.write_bytes(os.urandom(SIZE))  # random, since a file system may compress or skip zeros
    except DiskError:
        path.unlink(missing_ok=True)
        raise


def free_space(directory: Path) -> None:
    """Delete the file that `reserve_space` has written."""
    (directory / NAME).unlink(missing_ok=True)
