"""The name of a run's directory in a folder of runs: its hash, or the one that an earlier version gave it."""

import re
import sys
from collections.abc import Mapping
from functools import cache
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
    earlier = [file.parent.name for file in sorted(folder.glob("*/config.yaml")) if _is_earlier(file, name)]
    if not earlier:
        return name
    names = [*earlier, *([name] if RunDirectory(folder / name).config_file.exists() else [])]
    chosen = next((directory for directory in names if RunDirectory(folder / directory).finished), names[0])
    if len(names) > 1:
        _say_once(f"note: {folder}: {' and '.join(names)} hold the same run; {chosen} counts")
    return chosen


def _is_earlier(file: Path, name: str) -> bool:
    """Whether a directory's config is that of the run `name`, though another hash is the directory's name."""
    directory = file.parent.name
    return directory != name and bool(_HASH.fullmatch(directory)) and _hash_of(file, file.stat().st_mtime_ns) == name


@cache
def _hash_of(file: Path, modified: int) -> str | None:
    try:
        return config_hash(RunDirectory(file.parent).config())
    except ValueError:  # damaged: whoever reads the run says so
        return None


@cache
def _say_once(message: str) -> None:
    print(message, file=sys.stderr)
