"""A group of jobs on its way to the worker that trains it: a file beside the sweep's runs, and the way back."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from start_training.runs.job import Job

PREFIX = ".replicas-"  # of the folders in the sweep's directory
NAME = "jobs.json"
OVERRIDE = "++replicas=true"  # tells a launcher's job that it is a group


@contextmanager
def units_folder(sweep: Path) -> Iterator[Path]:
    """A new folder for the groups of one launch, as several launches of a sweep may run at a time."""
    sweep.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=sweep))
    folder.chmod(0o755)  # as the sweep's other directories: what starts the workers may be another user
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a worker that is being killed may still write there


def write_unit(folder: Path, number: int, jobs: Sequence[Job], *, checkpoint_seconds: float) -> str:
    """Write a group's jobs to a directory of its own in `folder`; returns that directory, relative to the sweep's."""
    unit = folder / str(number)
    unit.mkdir()
    listed = [
        {
            "directory": os.path.relpath(job.directory, folder.parent),
            "overrides": list(job.overrides),
            "config": job.config,
        }
        for job in jobs
    ]
    (unit / NAME).write_text(json.dumps({"jobs": listed, "checkpoint_seconds": checkpoint_seconds}) + "\n")
    return f"{folder.name}/{number}"


def read_unit(unit: Job) -> tuple[list[Job], float]:
    """The jobs of the group that a launcher's job stands for, and the seconds between their checkpoints.

    Raises ValueError where no launcher has written one.
    """
    file = unit.directory / NAME
    if not file.is_file():
        raise ValueError(f"replicas = {unit.config['replicas']}: is not for you to set; hydra/launcher=replicas does")
    sweep, written = unit.directory.parents[1], json.loads(file.read_text())
    jobs = [
        Job(job["config"], sweep / job["directory"], overrides=tuple(job["overrides"]), sweep=unit.sweep)
        for job in written["jobs"]
    ]
    return jobs, written["checkpoint_seconds"]
