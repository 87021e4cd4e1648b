"""Build the LightningModule that a config trains: this project's for a task, or one of the user's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from start_training.config.build import (
    build_initialized,
    build_optimizer,
    build_schedule,
    initialize_net,
    try_training,
)
from start_training.config.build_object import build, forget_objects
from start_training.config.build_task import build_task, own_module, takes
from start_training.config.data_sizes import sizes_of
from start_training.initializers.initialization import Initialization
from start_training.models.run_length import required_lengths, run_length
from start_training.models.training_module import TrainingModule

Config = Mapping[str, Any]


@dataclass(frozen=True)
class BuiltModule:
    """What is trained.

    Attributes:
        module: The LightningModule.
        net: The net that is initialized, measured and drawn: the module's, or the module itself if it builds its nets.
        initialization: What was drawn, and what was left.
    """

    module: pl.LightningModule
    net: nn.Module
    initialization: Initialization

    @property
    def own(self) -> bool:
        """Whether the module is the user's."""
        return not isinstance(self.module, TrainingModule)

    def tests(self, datamodule: Any) -> bool:
        """Return whether the module and a datamodule have what a test needs: a `test_step`, and test data."""
        has_step = is_overridden("test_step", self.module)
        return has_step and is_overridden("test_dataloader", datamodule, pl.LightningDataModule)

    def compile(self) -> None:
        """Compile the net."""
        torch.compiler.reset()  # do not reuse the graph of an earlier job, compiled without hooks
        self.net.compile()


def build_module(config: Config, datamodule: Any) -> BuiltModule:
    """Return the LightningModule of `config["task"]`, with its net initialized.

    A LightningModule of the user's gets `net`, `optimizer` (a function from parameters to an optimizer) and `schedule`
    (a function from an optimizer to a scheduler, or None) where its constructor takes them. If it takes no net,
    `config["model"]` is not used, and the initializers draw all nets that it builds.

    Raises:
        ValueError: a setting is not allowed.
    """
    target = own_module(config)
    if target is None:
        net, initialization = build_initialized(config, datamodule)
        return BuiltModule(task_module(config, net, datamodule), net, initialization)
    if "net" in takes(target):
        net, initialization = build_initialized(config, datamodule)
        return BuiltModule(_own_module(config, target, net=net), net, initialization)
    if config.get("compile"):
        raise ValueError(
            f"compile = true: {target.__name__} builds its nets itself; must be false, compile them in its constructor"
        )
    module = _own_module(config, target)
    return BuiltModule(module, module, initialize_net(config, module, datamodule))


def task_module(config: Config, net: nn.Module, datamodule: Any) -> TrainingModule:
    """Return the module that trains `net` for the task of the config, with its optimizer and schedule."""
    task = build_task(config)
    assert task is not None
    try_training(config, net)
    task.outputs = sizes_of(config, datamodule).outputs
    optimizer, schedule = build_optimizer(config), build_schedule(config)
    return TrainingModule(net, optimizer, task=task, schedule=schedule, seed=config["seed"])


def _own_module(config: Config, target: Any, **given: Any) -> pl.LightningModule:
    taken = takes(target)
    schedule = ScheduleOfRun(build_schedule(config)) if config.get("schedule") else None
    if "optimizer" in taken:
        given["optimizer"] = build_optimizer(config)
    if "schedule" in taken:
        given["schedule"] = schedule
    module = build(config["task"], "task", **given)
    if not isinstance(module, pl.LightningModule):
        raise ValueError(
            f"task._target_ = {config['task']['_target_']!r}: built a {type(module).__name__}; must build a "
            "pytorch_lightning.LightningModule"
        )
    if schedule is not None:
        schedule.module.append(module)
    forget_objects(module)
    return module


class ScheduleOfRun:
    """A function from an optimizer to its schedule, with the numbers of steps of the run filled in.

    Args:
        schedule: The schedule of the config, which may have the parameters `total_steps` and `steps_per_epoch`.
    """

    def __init__(self, schedule: Callable[..., LRScheduler] | None) -> None:
        self._schedule = schedule
        self.module: list[pl.LightningModule] = []  # set once it is built; in a list, since it is no child of it

    def __call__(self, optimizer: Optimizer) -> LRScheduler:
        assert self._schedule is not None
        required = required_lengths(self._schedule)
        lengths = run_length(self.module[0].trainer) if required else {}
        return self._schedule(optimizer, **{name: lengths[name] for name in required})
