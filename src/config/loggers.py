"""The loggers of a config, built to write into a run directory."""

from collections.abc import Mapping, Sequence
from typing import Any

import wandb
from pytorch_lightning.loggers import Logger, WandbLogger

from start_training.config.build import build
from start_training.config.mistakes import settings_of, target_of
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job


def named_nodes(config: Mapping[str, Any], group: str) -> list[tuple[str, dict[str, Any]]]:
    """The callbacks or loggers of a config by name; one that is null is left out."""
    return [(name, node) for name, node in (config.get(group) or {}).items() if node is not None]


def build_loggers(job: Job, run: RunDirectory) -> list[Logger]:
    """The loggers, writing into the run directory; a W&B run gets the job's name and the sweep's group."""
    return [_build_logger(name, node, job, run) for name, node in named_nodes(job.config, "logger")]


def start_loggers(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Begin the W&B run, with the config. Raises ValueError where W&B cannot."""
    for (name, node), logger in zip(named_nodes(config, "logger"), loggers, strict=True):
        if isinstance(logger, WandbLogger):
            with settings_of(f"logger.{name}", node):
                logger.log_hyperparams(dict(config))


def check_loggers(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Raises ValueError, as `start_loggers` would, for settings that W&B refuses; no run begins."""
    for (name, node), logger in zip(named_nodes(config, "logger"), loggers, strict=True):
        if isinstance(logger, WandbLogger):
            with settings_of(f"logger.{name}", node):
                wandb.Settings(mode=logger._wandb_init["mode"], **(logger._wandb_init.get("settings") or {}))


def _build_logger(name: str, node: dict[str, Any], job: Job, run: RunDirectory) -> Logger:
    target = target_of(node, f"logger.{name}")
    if not (isinstance(target, type) and issubclass(target, WandbLogger)):
        return build(node, f"logger.{name}", save_dir=str(run.path))
    logger = build(node, f"logger.{name}", save_dir=str(run.path), name=job.name, group=job.sweep)
    logger._wandb_init.pop("anonymous", None)  # Lightning always passes it, and W&B warns of it whatever its value
    return logger
