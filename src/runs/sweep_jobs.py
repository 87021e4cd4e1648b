"""The list of a sweep's jobs, in the directory that holds their run directories."""

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
    """One job: its directory within the sweep's, and what was overridden to get it."""

    directory: str
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """The title of the run."""
        return run_title(self.overrides)


def read_jobs(sweep: Path) -> list[SweepJob]:
    """All jobs that the sweep was ever asked for, in that order; none where no list was kept."""
    file = sweep / NAME
    if not file.exists():
        return []
    return [SweepJob(job["directory"], tuple(job["overrides"])) for job in json.loads(file.read_text())["jobs"]]


def add_jobs(sweep: Path, jobs: Iterable[SweepJob]) -> None:
    """Add those that are not on the list yet: a sweep grows when it is started again with other values."""
    known = {job.directory: job for job in read_jobs(sweep)}
    for job in jobs:
        known.setdefault(job.directory, job)
    text = [{"directory": job.directory, "overrides": list(job.overrides)} for job in known.values()]
    sweep.mkdir(parents=True, exist_ok=True)
    with replaced(sweep / NAME, partial=sweep / f".{NAME}.{os.getpid()}.partial") as partial:
        partial.write_text(json.dumps({"jobs": text}, indent=2) + "\n")
