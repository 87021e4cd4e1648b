"""The list of a sweep's jobs, jobs.json, in the directory of the sweep."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from start_training.runs.job import run_title
from start_training.runs.replaced_file import replaced

NAME = "jobs.json"


@dataclass(frozen=True)
class SweepJob:
    """A job of a sweep: its directory, relative to the sweep's directory, and its overrides."""

    directory: str
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """The overrides in one line."""
        return run_title(self.overrides)


def read_jobs(sweep: Path) -> list[SweepJob]:
    """Return all jobs in the sweep's list, in the order in which they were added; an empty list without a file.

    Args:
        sweep: the directory of the sweep.
    """
    file = sweep / NAME
    if not file.exists():
        return []
    return [SweepJob(job["directory"], tuple(job["overrides"])) for job in json.loads(file.read_text())["jobs"]]


def add_jobs(sweep: Path, jobs: Iterable[SweepJob]) -> None:
    """Add jobs to the sweep's list, except for those whose directory is already in it.

    The list grows when a sweep is started again with other values.

    Args:
        sweep: the directory of the sweep.
        jobs: the jobs to add.
    """
    known = {job.directory: job for job in read_jobs(sweep)}
    for job in jobs:
        known.setdefault(job.directory, job)
    text = [{"directory": job.directory, "overrides": list(job.overrides)} for job in known.values()]
    sweep.mkdir(parents=True, exist_ok=True)
    with replaced(sweep / NAME, partial=sweep / f".{NAME}.{os.getpid()}.partial") as partial:
        partial.write_text(json.dumps({"jobs": text}, indent=2) + "\n")
