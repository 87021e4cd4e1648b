"""From a job to a replica: what `train` builds for a run of its own, for one of a group."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from start_training.callbacks import start_of_training, test_metrics
from start_training.callbacks.start_of_training import StartOfTraining
from start_training.callbacks.test_metrics import TestMetrics
from start_training.config.build import build_datamodule, build_initializer, build_net, build_optimizer, build_schedule
from start_training.config.devices import check_trainer
from start_training.config.loggers import build_loggers, check_loggers
from start_training.datamodules.loader import EvaluationLoader
from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import EVALUATION_BATCH, TensorDataModule
from start_training.models.run_length import check_same_length, required_lengths
from start_training.replicas.checkpoint import restore, start_of
from start_training.replicas.group_evaluation import Sets
from start_training.replicas.log import Log
from start_training.replicas.replica import Replica
from start_training.runs.checkpoint import check_fits, check_optimizer_fits, interrupted_epoch, load_checkpoint
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.metrics_file import MetricsFile
from start_training.schedules.schedule import Schedule
from start_training.settings import seed
from start_training.training.train import build_callbacks, load, seed_global_generators

LIGHTNINGS_EPOCHS = 1000  # without max_epochs and max_steps


@dataclass
class ClaimedJob:
    """A job of a group whose directory this process holds, and what it resumes from."""

    job: Job
    run: RunDirectory
    checkpoint: dict[str, Any] | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        return self.job.config

    @property
    def start(self) -> tuple[int, int, int]:
        """(epoch, batches of it, steps) that are done."""
        return start_of(self.checkpoint)


def resumes_from(run: RunDirectory) -> dict[str, Any] | None:
    """The checkpoint that a job of a sweep goes on from; None where it begins anew. A broken one is a ValueError."""
    return load_checkpoint(run.checkpoint) if run.resumable else None


def build_replica(member: ClaimedJob, device: torch.device) -> tuple[Replica, Any]:
    """The replica and its initializer. Raises ValueError for a setting that no run could use."""
    config = member.config
    seed_global_generators(seed("seed", config["seed"]))
    trainer = config["trainer"]
    check_trainer(trainer)
    datamodule = build_datamodule(config)
    net = build_net(config, datamodule)
    initializer = build_initializer(config["initializer"])
    load(datamodule, None, None, shared=True)
    if member.checkpoint:
        check_fits(member.checkpoint, net, member.run.checkpoint)
    net.to(device=device, dtype=torch.float64 if trainer.get("precision") == "64-true" else None)
    order = datamodule.train_dataloader().order
    optimizer = build_optimizer(config)(net.parameters())
    max_epochs, max_steps = limits(trainer)
    schedule = _schedule(config, optimizer, len(order), max_epochs, max_steps)
    if member.checkpoint:
        check_optimizer_fits(member.checkpoint, optimizer, schedule, member.run.checkpoint)
        [saved] = member.checkpoint.get("lr_schedulers") or [{}]
        check_same_length(saved, schedule.state_dict() if schedule else {}, type(schedule).__name__)
        if epoch := interrupted_epoch(member.checkpoint):
            datamodule.train_dataloader().check_resumes(epoch)
    replica = Replica(
        net,
        optimizer,
        schedule,
        build_callbacks(config),
        order,
        member.run.path,
        Log(member.run.path, replayed=_has_other_loggers(member)),
        seed=config["seed"],
        max_epochs=max_epochs,
        max_steps=max_steps,
        datamodule=datamodule,
    )
    _check_test_set(replica)
    if member.checkpoint:
        restore(replica, member.checkpoint)
    return replica, initializer


def load_sets(datamodule: TensorDataModule, device: torch.device, dtype: torch.dtype) -> Sets:
    """A group's data."""
    parts = {
        part: Samples(samples.inputs.to(device, dtype), samples.targets.to(device))
        for part in ("training", "validation", "test")
        for samples in [datamodule.samples(part)]
    }
    size = max(datamodule.batch_size, EVALUATION_BATCH)
    validation, test = (
        EvaluationLoader(parts[part], size) if parts[part].size else None for part in ("validation", "test")
    )
    return Sets(parts["training"], validation, test)


def device_of(accelerator: str) -> torch.device:
    """Where Lightning would train on one device."""
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("cpu")


def limits(trainer: Mapping[str, Any]) -> tuple[int, int]:
    """(max_epochs, max_steps) as Lightning reads them, −1 for no limit."""
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    if epochs is None:
        epochs = LIGHTNINGS_EPOCHS if steps == -1 else -1
    return epochs, steps


def _schedule(
    config: Mapping[str, Any], optimizer: torch.optim.Optimizer, length: int, max_epochs: int, max_steps: int
) -> Schedule | None:
    schedule = build_schedule(config)
    if schedule is None:
        return None
    ends = [float(end) for end in (length * max_epochs, max_steps) if end > 0]
    lengths = {"total_steps": min(ends), "steps_per_epoch": float(length)}
    built = schedule(optimizer, **{name: lengths[name] for name in required_lengths(schedule)})
    assert isinstance(built, Schedule)
    return built


def _check_test_set(replica: Replica) -> None:
    """Raises ValueError where a callback looks at a test set, and there is none."""
    for kind, refusal in ((StartOfTraining, start_of_training.NO_TEST_SET), (TestMetrics, test_metrics.NO_TEST_SET)):
        if replica.callback(kind) and not replica.datamodule.samples("test").size:
            raise ValueError(refusal)


def _has_other_loggers(member: ClaimedJob) -> bool:
    """Whether it has loggers beside metrics.csv. They begin when the run has ended; a mistake in them shows here."""
    loggers = build_loggers(member.job, member.run)
    check_loggers(loggers, member.config)
    return any(not isinstance(logger, MetricsFile) for logger in loggers)
