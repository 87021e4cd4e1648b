"""The name of a run's directory in a folder of runs: its hash, or a hash computed by an earlier version."""

import re
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from start_training.runs.config_hash import config_hash
from start_training.runs.directory import RunDirectory

_HASH = re.compile(r"[0-9a-f]{12}")


def run_name(config: Mapping[str, Any], folder: Path) -> str:
    """Return the name of the directory in `folder` of the run with this config.

    It is the config's hash, unless an earlier version, which hashed differently, has already created a directory for
    the run. If there are several directories for the run, a finished one is used, and a note is printed once.

    Args:
        config: resolved and plain.
        folder: the directory that holds the run directories.
    """
    name = config_hash(config)
    earlier = _earlier_names(folder.resolve(), folder.stat().st_mtime_ns).get(name) if folder.is_dir() else None
    if not earlier:
        return name
    names = [*earlier, *([name] if RunDirectory(folder / name).config_file.exists() else [])]
    chosen = next((directory for directory in names if RunDirectory(folder / directory).finished), names[0])
    if len(names) > 1:
        _print_once(f"note: {folder}: directories {' and '.join(names)} hold the same run; {chosen} is used")
    return chosen


@lru_cache(maxsize=8)  # `modified` is part of the key: it changes when a directory is added
def _earlier_names(folder: Path, modified: int) -> dict[str | None, list[str]]:
    """Return the directories named by a hash of an earlier version, by the present hash of their config."""
    names: dict[str | None, list[str]] = {}
    for file in sorted(folder.glob("*/config.yaml")):
        directory = file.parent.name
        if _HASH.fullmatch(directory) and (name := _hash_of(file, file.stat().st_mtime_ns)) != directory:
            names.setdefault(name, []).append(directory)
    return names


@cache
def _hash_of(file: Path, modified: int) -> str | None:
    try:
        return config_hash(RunDirectory(file.parent).config())
    except ValueError:  # a damaged config, which is reported when the run is read
        return None


@cache
def _print_once(message: str) -> None:
    print(message, file=sys.stderr)
