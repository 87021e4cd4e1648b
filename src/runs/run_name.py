"""The name of a run's directory in a folder of runs: its hash, or the one that an earlier version gave it."""

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
    """Under which name a run of this config lies in `folder`, or is to begin there.

    Earlier versions hashed other things: a directory whose config.yaml has the same hash today keeps its name. Of
    several such directories a finished one counts, which is said once.
    """
    name = config_hash(config)
    earlier = _earlier_names(folder.resolve(), folder.stat().st_mtime_ns).get(name) if folder.is_dir() else None
    if not earlier:
        return name
    names = [*earlier, *([name] if RunDirectory(folder / name).config_file.exists() else [])]
    chosen = next((directory for directory in names if RunDirectory(folder / directory).finished), names[0])
    if len(names) > 1:
        _print_once(f"note: {folder}: {' and '.join(names)} hold the same run; {chosen} counts")
    return chosen


@lru_cache(maxsize=8)  # of the folder as it is: a new directory changes when it was modified
def _earlier_names(folder: Path, modified: int) -> dict[str | None, list[str]]:
    """By today's hash, the directories whose name is another hash."""
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
    except ValueError:  # damaged: whoever reads the run says so
        return None


@cache
def _print_once(message: str) -> None:
    print(message, file=sys.stderr)
