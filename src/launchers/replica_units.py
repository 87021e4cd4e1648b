"""Pass a group of jobs to the worker that trains it, as a file in the sweep's directory."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from start_training.files.replaced_file import replace_text
from start_training.runs.job import Job

PREFIX = ".replicas-"  # prefix of the folders of groups in the sweep's directory
NAME = "jobs.json"
OVERRIDE = "++replicas=true"  # marks a job of the inner launcher as a group of replicas


@contextmanager
def units_folder(sweep: Path) -> Iterator[Path]:
    """Create a folder for the groups of one launch in the directory `sweep`, and delete it on exit.

    Each launch has its own folder, since several launches of a sweep may run at the same time.
    """
    sweep.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=sweep))
    folder.chmod(0o755)  # workers may run as another user, who cannot read the default 0o700
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a worker that is being killed may still write there


def write_unit(folder: Path, number: int, jobs: Sequence[Job], *, checkpoint_seconds: float) -> str:
    """Write the jobs of a group to the directory `folder/number`.

    Args:
        folder: from `units_folder`.
        number: the number of the group.
        jobs: the jobs of the group.
        checkpoint_seconds: time between checkpoints of the group.
    Returns:
        The new directory, relative to the sweep's directory.
    """
    unit = folder / str(number)
    unit.mkdir()
    listed = [
        {
            "directory": os.path.relpath(job.directory, folder.parent),
            "overrides": list(job.overrides),
            "choices": dict(job.choices),
            "config": job.config,
        }
        for job in jobs
    ]
    replace_text(unit / NAME, json.dumps({"jobs": listed, "checkpoint_seconds": checkpoint_seconds}) + "\n")
    return f"{folder.name}/{number}"


def read_unit(unit: Job) -> tuple[list[Job], float]:
    """Read the group of jobs that `write_unit` has written.

    Args:
        unit: the job of the inner launcher that trains the group; its directory holds the file.
    Returns:
        The jobs of the group, and the seconds between their checkpoints.
    Raises:
        ValueError: no group has been written there, because a user has set `replicas`.
    """
    file = unit.directory / NAME
    if not file.is_file():
        raise ValueError(
            f"replicas = {unit.config['replicas']}: reserved for internal use; to train replicas, type "
            "hydra/launcher=replicas"
        )
    sweep, written = unit.directory.parents[1], json.loads(file.read_text())
    jobs = [
        Job(job["config"], sweep / job["directory"], tuple(job["overrides"]), unit.sweep, job["choices"])
        for job in written["jobs"]
    ]
    return jobs, written["checkpoint_seconds"]
