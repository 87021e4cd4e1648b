"""Decide which jobs of a sweep can train together as replicas in one program: those with equal tensor shapes."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

from start_training.callbacks.contracts import serves_groups
from start_training.config.mistakes import target_of
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.models.convolutional import Convolutional
from start_training.models.residual import Residual
from start_training.replicas.optimizer import OPTIMIZERS
from start_training.runs.config_hash import result_settings
from start_training.runs.metrics_file import MetricsFile
from start_training.schedules.schedule import Schedule
from start_training.tasks.classification import Classification

Config = Mapping[str, Any]

LOGGERS = (MetricsFile, WandbLogger, TensorBoardLogger, MLFlowLogger)
# Nets whose settings SCALES are residual scales, which change no tensor shape.
SCALED = (Residual, Convolutional)
SCALES = ("scales", "eta", "base", "exponent")
# Methods of a datamodule that a group does not call, because it slices batches from tensors in memory.
LOADING = (
    *("train_dataloader", "val_dataloader", "test_dataloader", "samples"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
)
# Config groups that all replicas of a training group share, except for the keys in PER_REPLICA.
SHARED = ("task", "model", "datamodule", "optimizer", "schedule", "callbacks", "trainer", "compile")
PER_REPLICA = {"datamodule": ("seed",), "optimizer": ("lr", "momentum", "betas", "weight_decay")}
# Trainer settings that may have any value in a group (`check_replicas` rejects several devices).
ANY_VALUE = (
    *("_target_", "accelerator", "devices", "num_nodes", "strategy"),
    *("max_epochs", "max_steps", "enable_progress_bar"),
)
# Trainer settings that may have only these values in a group; any setting in neither list excludes a job.
ALLOWED_VALUES = {
    "precision": ("32-true", "64-true", "bf16-mixed"),
    "accumulate_grad_batches": (1,),
    "gradient_clip_val": (None,),
}


def group_key(config: Config) -> str:
    """Return a hash (12 hexadecimal digits) that is equal for configs whose jobs can train in one group.

    Such configs may differ in seed and datamodule.seed, initializer, readout_initializer and initialize, residual
    scales, learning rate, momentum, betas and weight decay; in top-level settings that only define others, such as
    `depth`; and in settings that `config_hash` ignores, except for the accelerator. It applies only to jobs for which
    `ungroupable_reason` is None.
    """
    shared = {group: value for group, value in result_settings(config).items() if group in SHARED}
    for group, keys in PER_REPLICA.items():
        shared[group] = _without(shared.get(group), keys)
    if _target(config, "model") in SCALED:
        shared["model"] = _without(shared["model"], SCALES)
    accelerator = (config.get("trainer") or {}).get("accelerator", "auto")
    text = json.dumps([accelerator, shared], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def ungroupable_reason(config: Config) -> str | None:
    """Return why a job has to train on its own, as text for the printed plan; None if it can train in a group."""
    try:
        return next(_reasons(config), None)
    except ValueError as error:  # an invalid setting, which the job itself will report
        return str(error)


def check_replicas(config: Config) -> None:
    """Raise ValueError for trainer settings that hydra/launcher=replicas does not support.

    These are several devices, and clipping of the gradient norm over all parameters.
    """
    trainer = config.get("trainer") or {}
    for key, allowed in {"devices": (None, 1, "auto"), "num_nodes": (None, 1), "strategy": (None, "auto")}.items():
        if trainer.get(key) not in allowed:
            raise ValueError(f"trainer.{key} = {trainer[key]}: {_ONE_DEVICE}")
    clipped, by = trainer.get("gradient_clip_val"), trainer.get("gradient_clip_algorithm")
    if isinstance(clipped, int | float) and clipped > 0 and by in (None, "norm"):
        raise ValueError(
            f"trainer.gradient_clip_val = {clipped}: hydra/launcher=replicas cannot clip the gradient norm of each "
            "replica; use another launcher, or set it to null"
        )


_ONE_DEVICE = (
    "hydra/launcher=replicas trains each group on one device; to use several devices, set "
    "hydra.launcher.inner=process, which gives each device its own groups"
)


def _reasons(config: Config) -> Iterator[str]:
    if config.get("ckpt_path"):
        yield "ckpt_path is set: not supported in groups"
    if config.get("compile"):
        yield "compile = true: not supported in groups"
    if reason := _task_reason(config.get("task")):
        yield reason
    if not _is_class(data := target_of(config.get("datamodule"), "datamodule"), TensorDataModule):
        yield f"datamodule {_name(data)}: is not a TensorDataModule, which holds its data in memory"
    elif redefined := [name for name in LOADING if getattr(data, name) is not getattr(TensorDataModule, name)]:
        yield f"datamodule {_name(data)}: overrides {redefined[0]}, which a group does not call"
    targets = {
        f"{group}.{name}": target_of(node, f"{group}.{name}")
        for group in ("callbacks", "logger")
        for name, node in (config.get(group) or {}).items()
        if node is not None
    }
    for name, target in targets.items():
        if target not in LOGGERS and not serves_groups(target):
            yield f"{name} = {_name(target)}: does not support groups"
    for name, node in (config.get("callbacks") or {}).items():
        for key, value in getattr(targets.get(f"callbacks.{name}"), "group_settings", {}).items():
            if node.get(key, value) != value:
                yield f"callbacks.{name}.{key} = {node[key]}: not supported in groups"
    classes = [node["_target_"] for node in (config.get("callbacks") or {}).values() if node is not None]
    if len({*classes}) < len(classes):
        yield "several callbacks of one class: not supported in groups"
    if sum(hasattr(target, "group_lengths") for target in targets.values()) > 1:
        yield "several callbacks that measure activation lengths: not supported in groups"
    if (optimizer := target_of(config.get("optimizer"), "optimizer")) not in OPTIMIZERS:
        yield f"optimizer {_name(optimizer)}: groups support only {', '.join(map(_name, OPTIMIZERS))}"
    if config.get("schedule") and not _is_class(target := target_of(config["schedule"], "schedule"), Schedule):
        yield f"schedule {_name(target)}: groups support only the schedules of src/schedules"
    yield from _trainer_reasons(config)


def _task_reason(task: Any) -> str | None:
    if not task or (target := target_of(task, "task")) is Classification:
        return "task.loss is set: groups train by cross-entropy" if task and task.get("loss") else None
    return f"task {_name(target)}: groups train by classification only"


def _trainer_reasons(config: Config) -> Iterator[str]:
    trainer = config.get("trainer") or {}
    if (target := target_of(trainer, "trainer")) is not pl.Trainer:
        yield f"trainer {_name(target)}: is not pytorch_lightning.Trainer"
    accelerator = trainer.get("accelerator", "auto")
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        yield "groups need float64 for learning rates, which an Apple GPU lacks"
    for key, value in trainer.items():
        if key not in ANY_VALUE and value not in ALLOWED_VALUES.get(key, ()):
            yield f"trainer.{key} = {value}: not supported in groups"


def _target(config: Config, group: str) -> Any:
    """Return the target of a config group, or None if it is missing or cannot be imported."""
    try:
        return target_of(config.get(group), group)
    except ValueError:
        return None


def _without(node: Any, keys: tuple[str, ...]) -> Any:
    return {key: value for key, value in node.items() if key not in keys} if isinstance(node, Mapping) else node


def _is_class(target: Any, base: type) -> bool:
    return isinstance(target, type) and issubclass(target, base)


def _name(target: Any) -> str:
    return getattr(target, "__name__", str(target))
