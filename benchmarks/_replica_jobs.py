"""Jobs of scripts/train.py, composed in this process, and the time that they take one at a time or together."""

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
from start_training.training.replica_runs import train_group
from start_training.training.train import quiet_lightning, train

Config = dict[str, Any]
TrainJobs = Callable[[Sequence[Job]], object]

ALONE, TOGETHER = "one at a time", "together"
TRAINERS = {"cpu": "trainer=cpu", "cuda": "trainer=gpu"}


def train_alone(jobs: Sequence[Job]) -> None:
    """Train one after another in this process, as a multirun does under Hydra's basic launcher."""
    for job in jobs:
        train(job)


WAYS: dict[str, TrainJobs] = {ALONE: train_alone, TOGETHER: train_group}


def compose_each(overrides: Sequence[str], initializers: Sequence[str], **more: Any) -> list[DictConfig]:
    """The config of scripts/train.py with these overrides, for each initializer; `more` is for Hydra's `compose`."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return [compose("train", [*overrides, f"initializer={name}"], **more) for name in initializers]


def changed(config: DictConfig, settings: Mapping[str, Any]) -> Config:
    """A composed config as plain data with other values of settings; what is interpolated from them follows."""
    config = config.copy()
    for name, value in settings.items():
        OmegaConf.update(config, name, value)
    return plain(config)


@contextmanager
def existing_objects_not_collected() -> Iterator[None]:
    """Within, the garbage collector skips what exists already: a pass over the imports takes as long as some jobs."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def timed(train_jobs: TrainJobs, configs: Sequence[Config]) -> tuple[float, list[Config]]:
    """Train jobs of these configs in new directories.

    Args:
        train_jobs: One of `WAYS`, or another function of a list of jobs.
        configs: Of each job.
    Returns:
        The seconds it took (a run that has written its results has waited for its device), and the jobs' summaries.
    Raises:
        RuntimeError: A job did not end.
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
                raise RuntimeError(f"{job.name}: {run.state} ({summary.get('reason', 'no reason left')})")
    return seconds, summaries
