"""The directory for the tables of one fit, so that no fit overwrites the tables of another."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from start_training.files.damaged_file import DamagedFile
from start_training.files.file_lock import LOCK
from start_training.runs.table import files_of

FOLDER = "activation_lengths"
_TABLES = ("lengths", "steps", "updates")


def is_run_directory(directory: Path) -> bool:
    """Return whether `start-training train` writes a run in a directory: it has claimed it and written the config."""
    return (directory / LOCK).exists() and (directory / "config.yaml").exists()


def holds_tables(directory: Path) -> bool:
    """Return whether a directory has a table `lengths/`, `steps/` or `updates/`, or other files in such a folder."""
    return any(_files(directory / name) for name in _TABLES)


def new_subdirectory(base: Path) -> str:
    """Create the first free one of `activation_lengths/0`, `activation_lengths/1`, …; return its path within `base`."""
    used = [int(path.name) for path in _files(base / FOLDER) if path.name.isdecimal()]
    for number in count(max(used, default=-1) + 1):
        try:
            (base / FOLDER / str(number)).mkdir(parents=True)
        except FileExistsError:  # another process has created it
            continue
        return f"{FOLDER}/{number}"
    raise AssertionError


def newest_subdirectory(base: Path) -> str | None:
    """Return the subdirectory of the newest fit; "" if only `base` itself holds tables, None if there are none."""
    numbers = [int(path.name) for path in _files(base / FOLDER) if path.name.isdecimal() and holds_tables(path)]
    if numbers:
        return f"{FOLDER}/{max(numbers)}"
    return "" if holds_tables(base) else None


def choose_subdirectory(base: Path, *, explicit: bool, goes_on: bool, saved: str | None = None) -> str:
    """Choose where in `base` a fit writes its tables; "" is `base` itself. A new subdirectory is created.

    Args:
        base: The directory given by the user, or the trainer's.
        explicit: Whether it was given by the user for these tables: it is used itself as long as it holds none.
        goes_on: Whether to go on with the tables of an earlier fit, if there are any.
        saved: The choice of that fit, if known.

    Example:
        >>> import tempfile
        >>> base = Path(tempfile.mkdtemp())
        >>> choose_subdirectory(base, explicit=True, goes_on=False)
        ''
        >>> [choose_subdirectory(base, explicit=False, goes_on=False) for _ in range(2)]
        ['activation_lengths/0', 'activation_lengths/1']
    """
    if goes_on:
        if saved is not None and holds_tables(base / saved):
            return saved
        if (newest := newest_subdirectory(base)) is not None:
            return newest
    return "" if explicit and not holds_tables(base) else new_subdirectory(base)


def _files(directory: Path) -> list[Path]:
    try:
        return files_of(directory)
    except DamagedFile:  # a file of the user, which has the name of a folder
        return [directory]


def subdirectory_of_fit(base: Path, *, explicit: bool, goes_on: bool, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Choose where in `base` a fit writes its tables, and print the choice if it is a subdirectory.

    Args:
        base: As in `choose_subdirectory`.
        explicit: As in `choose_subdirectory`.
        goes_on: As in `choose_subdirectory`.
        saved: What this function returned for the fit to go on with, or an empty dictionary.

    Returns:
        The entry `subdirectory`; empty for a run directory of `start-training train`, which is used itself.
    """
    if is_run_directory(base):
        return {}
    subdirectory = choose_subdirectory(base, explicit=explicit, goes_on=goes_on, saved=saved.get("subdirectory"))
    if subdirectory:
        print(f"ActivationLengths: the tables of this fit are in {base / subdirectory}")
    return {"subdirectory": subdirectory}
