"""Build the loggers of a config, so that they write into the run directory, and start the W&B run."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from start_training.config import wandb_server
from start_training.config.build import build
from start_training.config.mistakes import name_group_in_errors, parameters_of, target_of
from start_training.config.wandb_labels import distinct_name, wandb_labels
from start_training.ranks import is_rank_zero
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.settings import one_line


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


def wandb_nodes(config: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, node) of each W&B logger in the config of a job."""
    return [(name, node) for name, node in named_nodes(config, "logger") if _is_wandb(name, node)]


def build_loggers(job: Job, run: RunDirectory) -> list[Logger]:
    """Return the loggers of a job, which write into the run directory.

    A W&B run gets name, group, job type and tags of the job: see `start_training.config.wandb_labels.wandb_labels`.
    """
    return [_build_logger(name, node, job, run) for name, node in named_nodes(job.config, "logger")]


def start_loggers(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Start the W&B run, if there is a W&B logger, and log the config to it, to TensorBoard and to MLflow.

    If the server cannot be used, the run is logged offline, or the setting `fallback` makes that an error.

    Raises:
        ValueError: W&B fails, or its server cannot be used and `fallback` is `error`.
    """
    for (name, node), logger in zip(named_nodes(config, "logger"), loggers, strict=True):
        if is_rank_zero() and isinstance(logger, TensorBoardLogger | MLFlowLogger):
            with name_group_in_errors(f"logger.{name}", node), _without_notes():
                logger.log_hyperparams(dict(config))
        if isinstance(logger, WandbLogger) and is_rank_zero():
            with name_group_in_errors(f"logger.{name}", node), _without_logging_errors():
                Path(str(logger.save_dir)).mkdir(parents=True, exist_ok=True)  # else W&B writes elsewhere
                _start(name, node, logger, config)


def check_loggers(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Raise ValueError if W&B rejects the settings of the W&B logger, without starting a W&B run."""
    for (name, node), logger in zip(named_nodes(config, "logger"), loggers, strict=True):
        if isinstance(logger, WandbLogger):
            with name_group_in_errors(f"logger.{name}", node):
                wandb.Settings(mode=logger._wandb_init["mode"], **(logger._wandb_init.get("settings") or {}))


def _is_wandb(name: str, node: dict[str, Any]) -> bool:
    target = target_of(node, f"logger.{name}")
    return isinstance(target, type) and issubclass(target, WandbLogger)


def _build_logger(name: str, node: dict[str, Any], job: Job, run: RunDirectory) -> Logger:
    if not _is_wandb(name, node):
        return _build_other(name, node, job, run)
    with name_group_in_errors(f"logger.{name}", node):
        wandb_server.check_fallback(fallback=node.get("fallback", "offline"))
    labels = wandb_labels(job, node)
    facts = labels.pop("config")  # of the same name as an argument of `instantiate`
    given = {key: value for key, value in node.items() if key not in ("fallback", *labels)}
    logger = build(given, f"logger.{name}", save_dir=str(run.path), **labels)
    logger._wandb_init["config"] = facts
    logger._wandb_init.pop("anonymous", None)  # Lightning always passes it, and W&B warns that it is deprecated
    return logger


def _build_other(name: str, node: dict[str, Any], job: Job, run: RunDirectory) -> Logger:
    """Build a logger other than W&B's: it gets the run directory, and the name of the run if it takes one."""
    named = {}
    if "run_name" in parameters_of(target_of(node, f"logger.{name}")) and not node.get("run_name"):
        named["run_name"] = distinct_name(job)
    if "tracking_uri" in node and node["tracking_uri"] is None:
        node = {**node, "tracking_uri": f"sqlite:///{run.path.resolve() / 'mlflow.db'}"}
    with _without_notes():
        return build(node, f"logger.{name}", save_dir=str(run.path), **named)


def _start(name: str, node: dict[str, Any], logger: WandbLogger, config: Mapping[str, Any]) -> None:
    if wandb_server.is_online(node):
        began = time.monotonic()
        reason = os.environ.get(wandb_server.UNREACHABLE)
        if reason is None and (reason := wandb_server.login_error(node)):
            wandb_server.fall_back(name, node, reason)
        if reason is None:
            seconds = max(wandb_server.LEAST, wandb_server.SECONDS - (time.monotonic() - began))
            given = logger._wandb_init.get("settings") or {}
            limit = {} if "WANDB_INIT_TIMEOUT" in os.environ else {"init_timeout": seconds}
            logger._wandb_init["settings"] = {**limit, **given}
            try:
                logger.log_hyperparams(dict(config))
                return
            except wandb.errors.Error as error:
                wandb_server.fall_back(name, node, one_line(error))
        logger._wandb_init["mode"] = "offline"
    logger.log_hyperparams(dict(config))


@contextmanager
def _without_notes() -> Iterator[None]:
    """Print no notes of MLflow, Alembic and Lightning about a new database; their errors are exceptions."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # levels of single loggers are set again by Alembic's configuration
    try:
        yield
    finally:
        logging.disable(disabled)


@contextmanager
def _without_logging_errors() -> Iterator[None]:
    """Let W&B's debug log lose lines that cannot be written, as on a full disk, instead of printing tracebacks."""
    raises, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = raises
        handlers: list[Any] = logging.getLogger("wandb").handlers  # a type checker does not allow to replace a method
        for handler in handlers:
            handler.handleError = lambda record: None  # W&B logs from threads of its own, also after this block
