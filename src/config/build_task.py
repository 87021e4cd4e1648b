"""Build the task of a config: one of src/tasks or of the user; or recognize a LightningModule of the user's."""

import inspect
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from start_training.config.build_object import build
from start_training.config.mistakes import target_of
from start_training.tasks.classification import Classification
from start_training.tasks.merit import Merit
from start_training.tasks.task import Task

Config = Mapping[str, Any]
PASSED = ("net", "optimizer", "schedule")  # arguments that a LightningModule of the user's gets if it takes them


def build_task(config: Config) -> Task | None:
    """Return the task of a config; None if `task` names a LightningModule of the user's, which has a loss of its own.

    Without the group `task`, as in configs of earlier versions, it is classification.

    Raises:
        ValueError: the target is neither a task nor a LightningModule.
    """
    if not config.get("task"):
        return Classification()
    if own_module(config) is not None:
        return None
    task = build(config["task"], "task")
    if not isinstance(task, Task):
        raise ValueError(
            f"task._target_ = {config['task']['_target_']!r}: builds a {type(task).__name__}; must be a "
            "pytorch_lightning.LightningModule, or a subclass of start_training.tasks.task.Task"
        )
    return task


def own_module(config: Config) -> Any:
    """Return the LightningModule class, or function that builds one, that `task` names; None if it names a task."""
    if not config.get("task"):
        return None
    target = target_of(config["task"], "task")
    if inspect.isclass(target):
        if not issubclass(target, pl.LightningModule) and any(
            base.__name__ == "LightningModule" for base in target.__mro__
        ):
            raise ValueError(
                f"task._target_ = {config['task']['_target_']!r}: is a LightningModule of another package than "
                "pytorch_lightning, which trains it here; must be derived from pytorch_lightning.LightningModule"
            )
        return target if issubclass(target, pl.LightningModule) else None
    returned = getattr(target, "__annotations__", {}).get("return")
    return target if inspect.isclass(returned) and issubclass(returned, pl.LightningModule) else None


def takes(target: Any) -> list[str]:
    """Return which of `PASSED` the constructor of a LightningModule takes."""
    return [name for name in PASSED if name in inspect.signature(target).parameters]


def merit_of(config: Config) -> Merit:
    """Return the merit by which runs of a config are compared: that of its task, with `monitor` and `mode`.

    A LightningModule of the user's may state a `merit` of its own in its class; without one it has no score.
    """
    own = own_module(config)
    task = (Classification if not config.get("task") else target_of(config["task"], "task")) if own is None else own
    merit = getattr(task, "merit", None)
    if not isinstance(merit, Merit):
        merit = Merit("", likelihood=False)
    monitor, mode = config.get("monitor"), config.get("mode")
    return merit.monitoring(monitor, mode) if monitor else merit
