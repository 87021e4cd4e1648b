"""A replica: one run of a group, with its net, optimizer, callbacks, loggers and progress."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from start_training.callbacks.contracts import GroupCallback
from start_training.callbacks.hyperparameters import Hyperparameters
from start_training.datamodules.batch_order import BatchOrder
from start_training.models.training_module import epoch_seed
from start_training.replicas.log import ReplicaLog
from start_training.runs.metrics_file import MetricsLogger
from start_training.runs.outcome import Diverged
from start_training.schedules.schedule import Schedule, momentum_of, set_momentum


@dataclass(eq=False)  # compared and hashed by identity
class Replica:
    """A run that trains as one of a group. Counters and limits are named as attributes of Lightning's Trainer.

    Attributes:
        net: The run's net, whose tensors are views of the group's stack.
        optimizer: The settings of the run's optimizer. Its states are in the group's optimizer, except while a
            checkpoint is written.
        schedule: The learning rate schedule; None: constant.
        callbacks: The run's callbacks, in the same order in all runs of the group.
        order: The samples of each batch.
        directory: The run's directory.
        log: The run's loggers.
        losses: The losses of the batches of the current epoch so far.
        samples: The sizes of these batches.
        diverged: The exception that names the step of the first loss that was not finite; None if there was none.
    """

    net: nn.Module
    optimizer: Optimizer
    schedule: Schedule | None
    callbacks: list[pl.Callback]
    order: BatchOrder
    directory: Path
    log: ReplicaLog
    seed: int = 0
    max_epochs: int | None = None
    max_steps: int = -1
    datamodule: Any = None
    global_step: int = 0
    current_epoch: int = 0
    should_stop: bool = False
    callback_metrics: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    samples: list[float] = field(default_factory=list)
    diverged: Diverged | None = None

    def __post_init__(self) -> None:
        group = self.optimizer.param_groups[0]
        self._rate = group["lr"] if self.schedule is None else float(self.schedule.base_lrs[0])
        self._momentum = momentum_of(group) or 0.0
        self._hyperparameters = Hyperparameters()

    @property
    def loggers(self) -> Sequence[MetricsLogger]:
        """The loggers of the run, which store metrics until they are written."""
        return self.log.loggers

    @property
    def batch_size(self) -> int:
        """The number of samples in an optimizer step."""
        return self.order.batch_size

    @property
    def finished(self) -> bool:
        """Whether the run has been stopped by a callback, or has reached its last step or epoch."""
        if self.should_stop or 0 < self.max_steps <= self.global_step:
            return True
        return self.max_epochs is not None and 0 <= self.max_epochs <= self.current_epoch

    def random_state(self, epoch: int) -> Tensor:
        """Return the state of torch's global generator in an epoch, to store in a checkpoint.

        Nets in a group do not draw random numbers in the forward pass, so that the state follows from the seed.
        """
        return Generator().manual_seed(epoch_seed(self.seed, epoch)).get_state()

    def rate(self, step: int) -> float:
        """Return the learning rate of an optimizer step."""
        return self._rate if self.schedule is None else float(self._rate * self.schedule.share(step))

    def momentum(self, step: int) -> float:
        """Return SGD's momentum or Adam's beta1 at a step; 0 for an optimizer without either."""
        scheduled = self.schedule.momentum_at(step) if self.schedule is not None else None
        return self._momentum if scheduled is None else scheduled

    def set_step(self, step: int) -> dict[str, Any]:
        """Set optimizer and schedule to the rate and momentum of a step, and return the optimizer's parameter group."""
        group = self.optimizer.param_groups[0]
        if self.schedule is not None:
            self.schedule.load_state_dict({"last_epoch": step})
            if self.schedule.momentum_at(step) is not None:
                set_momentum(group, self.momentum(step))
        group["lr"] = self.rate(step)
        return group

    def add_losses(self, first: int, losses: Sequence[float], samples: Sequence[float]) -> None:
        """Record the losses of consecutive steps of the current epoch.

        Args:
            first: The number of the first step.
            losses: The loss of each step; if the last is not finite, the run has diverged.
            samples: The number of samples in each step.
        """
        self.losses += losses
        self.samples += samples
        self.global_step = first + len(losses)
        if not math.isfinite(losses[-1]):
            self.diverged = Diverged(self.global_step - 1)
        decay = float(self.optimizer.param_groups[0]["weight_decay"])
        values = float(self.rate(first)), self.momentum(first), decay
        for step in range(first, self.global_step):
            if self.schedule is not None:
                values = float(self.rate(step)), self.momentum(step), decay
            self._hyperparameters.add(step, self.current_epoch, values, self.loggers)

    def flush(self) -> None:
        """Write pending rows of tables and metrics.csv to disk."""
        self._hyperparameters.flush(self.directory)
        self.log.file.flush()
        for callback in self.callbacks:
            if isinstance(callback, GroupCallback):
                callback.group_flush()


def mean_loss(losses: Sequence[float], samples: Sequence[float]) -> float:
    """Compute the mean loss over the samples of an epoch, rounded to float32 as in a run without a group.

    Args:
        losses: The mean loss of each batch.
        samples: The number of samples in each batch.
    """
    weights = torch.tensor(samples, dtype=torch.float64)
    return float(((torch.tensor(losses, dtype=torch.float64) * weights).sum() / weights.sum()).float())
