"""Build the loggers of a config, so that they write into the run directory, and start the W&B run."""

from collections.abc import Mapping, Sequence
from typing import Any

import wandb
from pytorch_lightning.loggers import Logger, WandbLogger

from start_training.config.build import build
from start_training.config.mistakes import name_group_in_errors, target_of
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job


def named_nodes(config: Mapping[str, Any], group: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, node) of each callback or logger in a config group, without those set to null.

    Args:
        config: the config of a job.
        group: "callbacks" or "logger".
    """
    nodes = config.get(group) or {}
    if not isinstance(nodes, Mapping):
        raise ValueError(f"{group} = {nodes!r}: must be a mapping of names to nodes with _target_; type {group}=none")
    return [(name, node) for name, node in nodes.items() if node is not None]


def build_loggers(job: Job, run: RunDirectory) -> list[Logger]:
    """Return the loggers of a job, which write into the run directory.

    A W&B run gets the name of the job, and the name of its sweep as group.
    """
    return [_build_logger(name, node, job, run) for name, node in named_nodes(job.config, "logger")]


def start_loggers(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Start the W&B run, if there is a W&B logger, and log the config to it. Raise ValueError if W&B fails."""
    for (name, node), logger in zip(named_nodes(config, "logger"), loggers, strict=True):
        if isinstance(logger, WandbLogger):
            with name_group_in_errors(f"logger.{name}", node):
                logger.log_hyperparams(dict(config))


def check_loggers(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Raise ValueError if W&B rejects the settings of the W&B logger, without starting a W&B run."""
    for (name, node), logger in zip(named_nodes(config, "logger"), loggers, strict=True):
        if isinstance(logger, WandbLogger):
            with name_group_in_errors(f"logger.{name}", node):
                wandb.Settings(mode=logger._wandb_init["mode"], **(logger._wandb_init.get("settings") or {}))


def _build_logger(name: str, node: dict[str, Any], job: Job, run: RunDirectory) -> Logger:
    target = target_of(node, f"logger.{name}")
    if not (isinstance(target, type) and issubclass(target, WandbLogger)):
        return build(node, f"logger.{name}", save_dir=str(run.path))
    logger = build(node, f"logger.{name}", save_dir=str(run.path), name=job.name, group=job.sweep)
    logger._wandb_init.pop("anonymous", None)  # Lightning always passes it, and W&B warns that it is deprecated
    return logger
