"""The name of a run's directory in a folder of runs: its hash, or the one that an earlier version gave it."""

import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from src.runs.config_hash import config_hash
from src.runs.directory import RunDirectory

_HASH = re.compile(r"[0-9a-f]{12}")


def run_name(config: Mapping[str, Any], folder: Path) -> str:
    """Under which name a run of this config lies in `folder`, or is to begin there.

    Earlier versions hashed other things: a directory whose config.yaml has the same hash today keeps its name. Of
    several such directories a finished one counts, which is said once.
    """
    name = config_hash(config)
    if not (earlier := _earlier_names(folder.resolve()).get(name)):
        return name
    names = [*earlier, *([name] if RunDirectory(folder / name).config_file.exists() else [])]
    chosen = next((each for each in names if RunDirectory(folder / each).finished), names[0])
    if len(names) > 1:
        _say_once(f"note: {folder}: {' and '.join(names)} hold the same run; {chosen} counts")
    return chosen


@cache  # no other directories with names of earlier versions are added later
def _earlier_names(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*/config.yaml")):
        if _HASH.fullmatch(file.parent.name):
            try:
                name = config_hash(RunDirectory(file.parent).config())
            except ValueError:  # damaged: whoever reads the run says so
                continue
            if name != file.parent.name:
                found.setdefault(name, []).append(file.parent.name)
    return found


@cache
def _say_once(message: str) -> None:
    print(message, file=sys.stderr)
