"""A group of jobs on its way to the worker that trains it: a file beside the sweep's runs, and the way back."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

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


class Unit(NamedTuple):
    """A group as its worker is given it: see `train_group`."""

    jobs: list[Job]
    checkpoint_seconds: float


def write_unit(folder: Path, number: int, jobs: Sequence[dict[str, Any]], *, checkpoint_seconds: float) -> str:
    """Leave a group there: for each job its `directory` in the sweep's, `overrides` and `config`.

    Returns the group's own directory in the sweep's.
    """
    unit = folder / str(number)
    unit.mkdir()
    (unit / NAME).write_text(json.dumps({"jobs": list(jobs), "checkpoint_seconds": checkpoint_seconds}) + "\n")
    return f"{folder.name}/{number}"


def read_unit(unit: Job) -> Unit:
    """The group that a launcher's job stands for. Raises ValueError where no launcher has left one."""
    file = unit.directory / NAME
    if not file.is_file():
        raise ValueError(f"replicas = {unit.config['replicas']}: is not for you to set; hydra/launcher=replicas does")
    sweep, left = unit.directory.parents[1], json.loads(file.read_text())
    jobs = [
        Job(job["config"], sweep / job["directory"], overrides=tuple(job["overrides"]), sweep=unit.sweep)
        for job in left["jobs"]
    ]
    return Unit(jobs, left["checkpoint_seconds"])
