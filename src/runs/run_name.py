"""The name of a run's directory in a folder of runs: its hash, or a hash computed by an earlier version."""

import re
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import filterfalse
from pathlib import Path
from typing import Any

from start_training.runs.config_hash import config_hash
from start_training.runs.directory import RunDirectory
from start_training.runs.trust import is_allowed, names_in, untrusted

_HASH = re.compile(r"[0-9a-f]{12}")


def run_name(config: Mapping[str, Any], folder: Path) -> str:
    """Return the name of the directory in `folder` of the run with this config.

    It is the config's hash, unless an earlier version, which hashed differently, has already created a directory for
    the run. If there are several directories for the run, a finished one is used, and a note is printed once.

    Args:
        config: resolved and plain.
        folder: the directory that holds the run directories.
    """
    name, trust = config_hash(config), frozenset(filterfalse(is_allowed, names_in(config)))
    earlier = _earlier_names(folder.resolve(), folder.stat().st_mtime_ns, trust).get(name) if folder.is_dir() else None
    if not earlier:
        return name
    names = [*earlier, *([name] if RunDirectory(folder / name).config_file.exists() else [])]
    chosen = next((directory for directory in names if RunDirectory(folder / directory).finished), names[0])
    if len(names) > 1:
        _print_once(f"note: {folder}: directories {' and '.join(names)} hold the same run; {chosen} is used")
    return chosen


@lru_cache(maxsize=8)  # `modified` is part of the key: it changes when a directory is added
def _earlier_names(folder: Path, modified: int, trust: frozenset[str]) -> dict[str | None, list[str]]:
    """Return the directories named by a hash of an earlier version, by the present hash of their config.

    To hash a config, the classes that it names are imported: only those in `trust` and those that `is_allowed` allows.
    """
    names: dict[str | None, list[str]] = {}
    for file in sorted(folder.glob("*/config.yaml")):
        directory, changed = file.parent.name, file.stat().st_mtime_ns
        if not _HASH.fullmatch(directory) or not _needed_trust(file, changed) <= trust:
            continue
        if (name := _hash_of(file, changed)) != directory:
            names.setdefault(name, []).append(directory)
    return names


@cache
def _needed_trust(file: Path, modified: int) -> frozenset[str]:
    config = _config_of(file, modified)
    return frozenset(name for _, name in untrusted(config)) if config else frozenset()


@cache
def _hash_of(file: Path, modified: int) -> str | None:
    config = _config_of(file, modified)
    return config_hash(config) if config else None


@lru_cache(maxsize=1)  # read once for both
def _config_of(file: Path, modified: int) -> dict[str, Any] | None:
    try:
        return RunDirectory(file.parent).unchecked_config()
    except ValueError:  # a damaged config, which is reported when the run is read
        return None


@cache
def _print_once(message: str) -> None:
    print(message, file=sys.stderr)
