"""One run of a group: what it owns, and how far it has come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from start_training.callbacks.hyperparameters import Row, hyperparameter_rows, sent
from start_training.callbacks.phase import Phase
from start_training.datamodules.batch_order import BatchOrder
from start_training.models.classifier import epoch_seed
from start_training.replicas.log import Log
from start_training.replicas.pending_lengths import PendingLengths
from start_training.runs.outcome import Diverged
from start_training.runs.table import Table
from start_training.schedules.schedule import Schedule, momentum_of, set_momentum

AnyCallback = TypeVar("AnyCallback", bound=pl.Callback)


@dataclass(eq=False)  # each is itself alone
class Replica:
    """A run that trains as one of a group. Its counts, and what `Record` asks of a run, have a Trainer's names.

    optimizer, schedule: its own. They say at which rate it steps, and hold its states when a checkpoint is written.
    losses, samples: of the batches of this epoch so far; diverged: the first loss that was not finite.
    """

    net: nn.Module
    optimizer: Optimizer
    schedule: Schedule | None
    callbacks: list[pl.Callback]
    order: BatchOrder
    directory: Path
    log: Log
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
        self._rows: list[Row] = []
        self._sent: tuple[float, ...] | None = None
        self.lengths = PendingLengths()

    def callback(self, kind: type[AnyCallback]) -> AnyCallback | None:
        """Its callback of this class."""
        return next((each for each in self.callbacks if isinstance(each, kind)), None)

    @property
    def over(self) -> bool:
        """Whether it has come to its last step or epoch."""
        if self.should_stop or 0 < self.max_steps <= self.global_step:
            return True
        return self.max_epochs is not None and 0 <= self.max_epochs <= self.current_epoch

    def random_state(self, epoch: int) -> Tensor:
        """Of the global stream in an epoch, from which nets of a group draw nothing."""
        return Generator().manual_seed(epoch_seed(self.seed, epoch)).get_state()

    def rate(self, step: int) -> float:
        """The learning rate of an optimizer step."""
        return self._rate if self.schedule is None else float(self._rate * self.schedule.share(step))

    def momentum(self, step: int) -> float:
        """SGD's momentum or Adam's beta1 at a step."""
        moved = self.schedule.momentum_at(step) if self.schedule is not None else None
        return self._momentum if moved is None else moved

    def set_step(self, step: int) -> dict[str, Any]:
        """Bring optimizer and schedule to a step, whose rate and momentum they then have; the parameter group."""
        group = self.optimizer.param_groups[0]
        if self.schedule is not None:
            self.schedule.load_state_dict({"last_epoch": step})
            if self.schedule.momentum_at(step) is not None:
                set_momentum(group, self.momentum(step))
        group["lr"] = self.rate(step)
        return group

    def note(self, first: int, losses: Sequence[float], samples: Sequence[float]) -> None:
        """Passes of this epoch, before the updates from `first` on, up to one whose loss is not finite."""
        self.losses += losses
        self.samples += samples
        self.global_step = first + len(losses)
        if not math.isfinite(losses[-1]):
            self.diverged = Diverged(self.global_step - 1)
        self._note_hyperparameters(first)

    def flush(self) -> None:
        """Write what it has noted since the last time."""
        rows, self._rows = self._rows, []
        if rows:
            Table(self.directory / "hyperparameters").append(hyperparameter_rows(rows))
        self.lengths.flush(self.directory)
        self.log.flush()
        if phase := self.callback(Phase):
            phase.flush()

    def _note_hyperparameters(self, first: int) -> None:
        """Of the steps from `first` to where it has come: rows, and what loggers are sent when a value changes.

        The values are `values_of` its parameter group at each step, which is not brought there for them.
        """
        decay = float(self.optimizer.param_groups[0]["weight_decay"])
        values = float(self.rate(first)), self.momentum(first), decay
        for step in range(first, self.global_step):
            if self.schedule is not None:
                values = float(self.rate(step)), self.momentum(step), decay
            self._rows.append((step, self.current_epoch, values))
            if values != self._sent:
                self._sent = values
                self.log.others.log_metrics(sent(values), step)


def mean_loss(losses: Sequence[float], samples: Sequence[float]) -> float:
    """Over the samples of an epoch, in float32 as a run's own."""
    weights = torch.tensor(samples, dtype=torch.float64)
    return float(((torch.tensor(losses, dtype=torch.float64) * weights).sum() / weights.sum()).float())
