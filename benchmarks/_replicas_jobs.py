"""Jobs of scripts/train.py, composed in this process, and the time that it takes to do them one by one or together."""

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

from benchmarks._job_gaps import mnist_directory
from start_training.config.composed import plain
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.replica_runs import train_group
from start_training.training.train import train

Config = dict[str, Any]
Train = Callable[[Sequence[Job]], object]

ALONE, TOGETHER = "one at a time", "together"
TRAINERS = {"cpu": "trainer=cpu", "cuda": "trainer=gpu"}
_CONF = Path(__file__).parents[1] / "conf"


def train_alone(jobs: Sequence[Job]) -> None:
    """One after another in this process, as a multirun does under Hydra's basic launcher."""
    for job in jobs:
        train(job)


WAYS: dict[str, Train] = {ALONE: train_alone, TOGETHER: train_group}


@contextmanager
def conf() -> Iterator[None]:
    """Within, Hydra composes from the project's conf/."""
    with initialize_config_dir(str(_CONF), version_base="1.3"):
        yield


def compose_jobs(overrides: Sequence[str], *, initializers: Sequence[str], seeds: Sequence[int]) -> list[Config]:
    """The configs of scripts/train.py with these overrides, of every initializer and seed; the seed varies fastest."""
    with conf():
        composed = [compose("train", [*overrides, f"initializer={name}"]) for name in initializers]
    return [changed(config, {"seed": seed}) for config in composed for seed in seeds]


def changed(config: DictConfig, settings: Mapping[str, Any]) -> Config:
    """A composed config as plain data with other values of settings; what is interpolated from them follows."""
    config = config.copy()
    for name, value in settings.items():
        OmegaConf.update(config, name, value)
    return plain(config)


def data_overrides() -> tuple[list[str], str]:
    """MNIST where DATA_DIR has it, else random inputs of its shape, all of them to train on; and which of the two."""
    if directory := mnist_directory():
        return ["datamodule=mnist", f"datamodule.data_dir={directory}", "datamodule.validation=0"], "MNIST"
    shape = ["datamodule.input_size=784", "datamodule.samples=60000", "datamodule.test_samples=10000"]
    return ["datamodule=random_inputs", *shape, "datamodule.validation=0"], "random inputs of MNIST's shape"


@contextmanager
def nothing_old_collected() -> Iterator[None]:
    """Within, the garbage collector leaves alone what is there: a pass over the imports takes as long as some jobs."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def timed(train_jobs: Train, configs: Sequence[Config]) -> tuple[float, list[Config]]:
    """Seconds to train jobs of these configs in fresh directories, and their summaries.

    A run that has written its results has waited for its device. Raises RuntimeError for a job that did not end.
    """
    with tempfile.TemporaryDirectory() as directory, redirect_stdout(StringIO()):
        jobs = [
            Job(config, Path(directory, str(index)), overrides=(f"seed={config['seed']}",), sweep="benchmark")
            for index, config in enumerate(configs)
        ]
        start = time.perf_counter()
        train_jobs(jobs)
        seconds = time.perf_counter() - start
        return seconds, [_summary(job) for job in jobs]


def _summary(job: Job) -> Config:
    run = RunDirectory(job.directory)
    if not run.finished:
        raise RuntimeError(f"{job.name}: {run.state} ({(run.summary() or {}).get('reason', 'no reason left')})")
    return run.summary() or {}
