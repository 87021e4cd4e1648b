"""The list of a sweep's jobs, jobs.json, in the directory of the sweep."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from start_training.files.damaged_file import DamagedFile, set_aside
from start_training.files.replaced_file import replaced
from start_training.runs.documents import read_job_list

NAME = "jobs.json"


def read_jobs(sweep: Path) -> dict[str, tuple[str, ...]]:
    """Return the overrides of all jobs in a sweep's list, in the order in which the jobs were added.

    Args:
        sweep: The directory of the sweep.

    Returns:
        Overrides by run directory, relative to the directory of the sweep; empty without a list.

    Raises:
        DamagedFile: the list is damaged.
    """
    return read_job_list(sweep / NAME)


def add_jobs(sweep: Path, jobs: Mapping[str, Sequence[str]]) -> None:
    """Add jobs to a sweep's list, which grows when the sweep is started again with other values.

    A damaged list is set aside, and a new one is begun.

    Args:
        sweep: The directory of the sweep.
        jobs: Overrides by run directory, relative to the directory of the sweep; directories in the list are skipped.
    """
    listed: dict[str, Sequence[str]] = {}
    try:
        listed |= read_jobs(sweep)
    except DamagedFile as error:
        print(f"{error}; its jobs of earlier commands are no longer listed", file=sys.stderr)
        set_aside(error.path, sweep)
    for directory, overrides in jobs.items():
        listed.setdefault(directory, overrides)
    text = [{"directory": directory, "overrides": list(overrides)} for directory, overrides in listed.items()]
    sweep.mkdir(parents=True, exist_ok=True)
    with replaced(sweep / NAME, partial=sweep / f".{NAME}.{os.getpid()}.partial") as partial:
        partial.write_text(json.dumps({"jobs": text}, indent=2) + "\n")
