"""Which jobs of a sweep may train as one program: those whose nets, data and training have equal shapes."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger

from start_training.callbacks.contracts import serves_groups
from start_training.config.mistakes import target_of
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.models.convolutional import Convolutional
from start_training.models.residual import Residual
from start_training.replicas.optimizer import OPTIMIZERS
from start_training.runs.config_hash import determining
from start_training.runs.metrics_file import MetricsFile
from start_training.schedules.schedule import Schedule

Config = Mapping[str, Any]

LOGGERS = (MetricsFile, WandbLogger)
SCALED = (Residual, Convolutional)  # nets in which these settings are residual scales, and change no shape
SCALES = ("scales", "eta", "base", "exponent")
# Methods of a datamodule that a group does not call, because it takes batches from tensors.
LOADING = (
    *("train_dataloader", "val_dataloader", "test_dataloader", "samples"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
)
# What training reads of a config; each replica has its own seed and initializers, and its own settings in OWN.
SHARED = ("model", "datamodule", "optimizer", "schedule", "callbacks", "trainer", "compile")
OWN = {"datamodule": ("seed",), "optimizer": ("lr", "momentum", "betas", "weight_decay")}
# Settings of the trainer that may have any value (several devices are refused), and the values allowed for others.
ANY = ("_target_", "accelerator", "devices", "num_nodes", "strategy", "max_epochs", "max_steps", "enable_progress_bar")
SOME = {
    "precision": ("32-true", "64-true", "bf16-mixed"),
    "accumulate_grad_batches": (1,),
    "gradient_clip_val": (None,),
}


def group_key(config: Config) -> str:
    """Twelve hexadecimal digits that are equal for configs whose jobs may train together, if neither is `alone`.

    Such configs may differ in seed and datamodule.seed, initializer and readout_initializer, residual scales,
    learning rate, momentum, betas and weight decay; in an experiment's own settings, such as `depth`, which only
    define others; and in what `config_hash` ignores, except for the accelerator.
    """
    kept = {group: value for group, value in determining(config).items() if group in SHARED}
    for group, keys in OWN.items():
        kept[group] = _without(kept.get(group), keys)
    if _target(config, "model") in SCALED:
        kept["model"] = _without(kept["model"], SCALES)
    accelerator = (config.get("trainer") or {}).get("accelerator", "auto")
    text = json.dumps([accelerator, kept], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def alone(config: Config) -> str | None:
    """Why a job trains on its own, in words for the plan; None where it may train with others."""
    try:
        return next(_reasons(config), None)
    except ValueError as error:  # a mistake, which the job reports when it is trained
        return str(error)


def check_replicas(config: Config) -> None:
    """Raises ValueError for what the user should not have asked to train as replicas.

    That is a trainer of several devices, and clipping the norm of the gradient over all parameters.
    """
    trainer = config.get("trainer") or {}
    for key, allowed in {"devices": (None, 1, "auto"), "num_nodes": (None, 1), "strategy": (None, "auto")}.items():
        if trainer.get(key) not in allowed:
            raise ValueError(f"trainer.{key} = {trainer[key]}: {_ONE_DEVICE}")
    clipped, by = trainer.get("gradient_clip_val"), trainer.get("gradient_clip_algorithm")
    if isinstance(clipped, int | float) and clipped > 0 and by in (None, "norm"):
        raise ValueError(
            f"trainer.gradient_clip_val = {clipped}: clips a norm over all parameters, which hydra/launcher=replicas "
            "would take over all replicas; train with another launcher, or with null"
        )


_ONE_DEVICE = (
    "hydra/launcher=replicas trains many nets on one device; for several devices, "
    "hydra.launcher.inner=process gives each its own groups"
)


def _reasons(config: Config) -> Iterator[str]:
    if config.get("ckpt_path"):
        yield "ckpt_path is set"
    if config.get("compile"):
        yield "compile = true"
    if not _is_class(data := target_of(config.get("datamodule"), "datamodule"), TensorDataModule):
        yield f"{_named(data)} holds no tensors in memory"
    elif redefined := [name for name in LOADING if getattr(data, name) is not getattr(TensorDataModule, name)]:
        yield f"{_named(data)}.{redefined[0]}: is another way to batches than TensorDataModule's"
    targets = {
        f"{group}.{name}": target_of(node, f"{group}.{name}")
        for group in ("callbacks", "logger")
        for name, node in (config.get(group) or {}).items()
        if node is not None
    }
    for name, target in targets.items():
        if target not in LOGGERS and not serves_groups(target):
            yield f"{name} = {_named(target)}: needs a trainer of its own"
    kinds = [node["_target_"] for node in (config.get("callbacks") or {}).values() if node is not None]
    if len({*kinds}) < len(kinds):
        yield "several callbacks of one class"
    if sum(hasattr(target, "group_lengths") for target in targets.values()) > 1:
        yield "several callbacks that read activation lengths"
    if (optimizer := target_of(config.get("optimizer"), "optimizer")) not in OPTIMIZERS:
        yield f"optimizer {_named(optimizer)}: only {', '.join(map(_named, OPTIMIZERS))} train together"
    if config.get("schedule") and not _is_class(target := target_of(config["schedule"], "schedule"), Schedule):
        yield f"schedule {_named(target)}: is not one of src/schedules"
    yield from _trainers_reasons(config)


def _trainers_reasons(config: Config) -> Iterator[str]:
    trainer = config.get("trainer") or {}
    if (target := target_of(trainer, "trainer")) is not pl.Trainer:
        yield f"trainer {_named(target)}: is not Lightning's"
    accelerator = trainer.get("accelerator", "auto")
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        yield "an Apple GPU has no float64, in which a group keeps its rates"
    for key, value in trainer.items():
        if key not in ANY and value not in SOME.get(key, ()):
            yield f"trainer.{key} = {value}"


def _target(config: Config, group: str) -> Any:
    """None where there is none that can be imported."""
    try:
        return target_of(config.get(group), group)
    except ValueError:
        return None


def _without(node: Any, keys: tuple[str, ...]) -> Any:
    return {key: value for key, value in node.items() if key not in keys} if isinstance(node, Mapping) else node


def _is_class(target: Any, base: type) -> bool:
    return isinstance(target, type) and issubclass(target, base)


def _named(target: Any) -> str:
    return getattr(target, "__name__", str(target))
