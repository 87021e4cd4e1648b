"""Compose jobs of scripts/train.py in this process, and time them one at a time or together as replicas."""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from benchmarks._harness import ROOT
from start_training.config.composed import plain
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.process_settings import quiet_lightning
from start_training.training.replica_runs import train_group
from start_training.training.train import train

Config = dict[str, Any]
TrainJobs = Callable[[Sequence[Job]], object]

ONE_BY_ONE, TOGETHER = "one at a time", "together"
TRAINERS = {"cpu": "trainer=cpu", "cuda": "trainer=gpu"}


def train_one_by_one(jobs: Sequence[Job]) -> None:
    """Train jobs one after the other in this process, as a multirun with the basic launcher of Hydra does."""
    for job in jobs:
        train(job)


WAYS: dict[str, TrainJobs] = {ONE_BY_ONE: train_one_by_one, TOGETHER: train_group}


def compose_each(overrides: Sequence[str], initializers: Sequence[str], **more: Any) -> list[DictConfig]:
    """Compose the config of scripts/train.py with these overrides for each initializer.

    `more` holds keyword arguments of Hydra's `compose`.
    """
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return [compose("train", [*overrides, f"initializer={name}"], **more) for name in initializers]


def changed(config: DictConfig, settings: Mapping[str, Any]) -> Config:
    """Return a composed config as plain data with changed settings, which interpolations take into account."""
    config = config.copy()
    for name, value in settings.items():
        OmegaConf.update(config, name, value)
    return plain(config)


@contextmanager
def existing_objects_not_collected() -> Iterator[None]:
    """Exclude all existing objects from garbage collection in the context.

    A collection of all imported modules takes as long as some jobs and would distort their times.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def timed(train_jobs: TrainJobs, configs: Sequence[Config]) -> tuple[float, list[Config]]:
    """Train jobs in new directories and measure the time.

    Args:
        train_jobs: Function of a list of jobs that trains them, such as one of `WAYS`.
        configs: Config of each job.
    Returns:
        The seconds of all jobs (including the work of a GPU, since each job has written its results) and the summary
        of each job.
    Raises:
        RuntimeError: a job did not finish.
    """
    with tempfile.TemporaryDirectory() as directory, redirect_stdout(StringIO()), quiet_lightning():
        jobs = [
            Job(config, Path(directory, str(index)), overrides=(f"seed={config['seed']}",), sweep="benchmark")
            for index, config in enumerate(configs)
        ]
        start = time.perf_counter()
        train_jobs(jobs)
        seconds = time.perf_counter() - start
        runs = [RunDirectory(job.directory) for job in jobs]
        summaries: list[Config] = [run.summary() or {} for run in runs]
        for job, run, summary in zip(jobs, runs, summaries, strict=True):
            if not run.finished:
                raise RuntimeError(f"{job.name}: {run.state} ({summary.get('reason', 'reason unknown')})")
    return seconds, summaries
