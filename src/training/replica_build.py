"""Build the replica of a job, with the same checks of its settings as `train`."""

from collections.abc import Mapping
from typing import Any

import torch

from start_training.callbacks.contracts import call_implemented
from start_training.config.build import (
    build_datamodule,
    build_initialized,
    build_initializer,
    build_optimizer,
    build_schedule,
)
from start_training.config.devices import check_trainer
from start_training.config.loggers import build_loggers, check_loggers
from start_training.datamodules.loader import EvaluationLoader
from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import EVALUATION_BATCH, TensorDataModule
from start_training.models.run_length import check_same_length, required_lengths
from start_training.replicas.group_checkpoint import restore
from start_training.replicas.group_evaluation import Sets
from start_training.replicas.log import ReplicaLog
from start_training.replicas.replica import Replica
from start_training.runs.checkpoint import check_optimizer_fits
from start_training.runs.metrics_file import MetricsFile
from start_training.schedules.schedule import Schedule
from start_training.settings import seed
from start_training.training.checkpoint_fits import check_fits
from start_training.training.mended import mended
from start_training.training.process_settings import seed_global_generators
from start_training.training.record import Record
from start_training.training.train import build_callbacks, load_datamodule

LIGHTNINGS_EPOCHS = 1000  # Lightning's max_epochs if neither max_epochs nor max_steps is set


def build_replica(record: Record, device: torch.device) -> Replica:
    """Build the replica of a job on a device, restored from the record's checkpoint if there is one.

    Sets `net`, `initialization`, `initializer` and `trainer` of the record.

    Raises:
        ValueError: a setting is not allowed, or the checkpoint does not fit.
    """
    config, path = record.job.config, record.run.path
    seed_global_generators(seed("seed", config["seed"]))
    trainer = config["trainer"]
    check_trainer(trainer)
    datamodule = build_datamodule(config)
    net, record.initialization = build_initialized(config, datamodule)
    complete = record.initialization.complete
    record.initializer = build_initializer(config["initializer"]) if complete else None
    load_datamodule(datamodule, None, record.checkpoint, shared=True)
    if not record.checkpoint:
        record.initialization = mended(net, record.initialization, config, datamodule)
    if record.checkpoint:
        check_fits(record.checkpoint, net, record.run.checkpoint)
    net.to(device=device, dtype=torch.float64 if trainer.get("precision") == "64-true" else None)
    order = datamodule.train_dataloader().order
    optimizer = build_optimizer(config)(net.parameters())
    max_epochs, max_steps = limits(trainer)
    schedule = _schedule(config, optimizer, len(order), max_epochs, max_steps)
    if record.checkpoint:
        check_optimizer_fits(record.checkpoint, optimizer, schedule, record.run.checkpoint)
        [saved] = record.checkpoint.get("lr_schedulers") or [{}]
        check_same_length(saved, schedule.state_dict() if schedule else {}, type(schedule).__name__)
    replica = Replica(
        net,
        optimizer,
        schedule,
        build_callbacks(config),
        order,
        path,
        ReplicaLog(path, has_others=_has_other_loggers(record)),
        seed=config["seed"],
        max_epochs=max_epochs,
        max_steps=max_steps,
        datamodule=datamodule,
    )
    call_implemented(replica.callbacks, "group_check", datamodule)
    if record.checkpoint:
        restore(replica, record.checkpoint)
    record.net, record.trainer = net, replica
    return replica


def load_sets(datamodule: TensorDataModule, device: torch.device, dtype: torch.dtype) -> Sets:
    """Load training, validation and test data of a group onto a device, with inputs of the given dtype."""
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
    """Return the device on which Lightning trains for a given `accelerator` and `devices=1`."""
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("cpu")


def limits(trainer: Mapping[str, Any]) -> tuple[int, int]:
    """Return (max_epochs, max_steps) of the config's Trainer with Lightning's defaults; −1 is no limit."""
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


def _has_other_loggers(record: Record) -> bool:
    """Check a run's loggers, which start when it has ended; return whether there are any besides metrics.csv."""
    loggers = build_loggers(record.job, record.run)
    check_loggers(loggers, record.job.config)
    return any(not isinstance(logger, MetricsFile) for logger in loggers)
