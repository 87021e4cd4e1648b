"""What a callback can implement besides Lightning's hooks: a part of the run's report, and the service of a group.

A callback joins by having the methods: no list names its class. `RunReport` lists methods that are optional one by one.
A callback that has all methods of `GroupCallback` (inheriting from it supplies those that do nothing) can watch runs
that `hydra/launcher=replicas` trains as one program; a run with a callback that lacks one trains on its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from start_training.runs.length_tables import StepRecord
from start_training.runs.metrics_file import MetricsLogger


class RunReport(Protocol):
    """Optional methods, each of which is asked of the callbacks that have it."""

    tested_after_stop: bool = True  # whether a run that this callback has ended is still tested

    def summary(self) -> dict[str, Any]:
        """Plain data for the run's summary.json, under keys that no other callback uses."""

    def sentence(self, summary: Mapping[str, Any], *, short: bool = False) -> str:
        """What the terminal prints of a run's whole summary, "" for nothing; short: in a sweep's one line a job."""

    def stop_reason(self) -> str | None:
        """Why this callback has ended the run; None if it has not."""

    def check_settings(self, datamodule: Any) -> None:
        """Raise ValueError for a datamodule, not loaded yet, whose settings the callback cannot work with."""


class GroupRun(Protocol):
    """A run that trains as a replica of a group, as its callbacks see it."""

    net: nn.Module
    optimizer: Optimizer
    callbacks: list[pl.Callback]
    directory: Path
    datamodule: Any
    should_stop: bool  # which a callback sets to end the run; its epoch ends there

    @property
    def batch_size(self) -> int:
        """Samples of an optimizer step."""

    @property
    def loggers(self) -> Sequence[MetricsLogger]:
        """Stand-ins for the run's loggers; the one for metrics.csv is a `MetricsFile`."""

    def set_step(self, step: int) -> dict[str, Any]:
        """Set learning rate and momentum to those of an optimizer step; returns the optimizer's parameter group."""


@dataclass(frozen=True)
class GroupMoment:
    """How far the runs of a group have trained.

    Attributes:
        step: Optimizer steps done.
        epoch: The epoch of the last one, from 0.
        epochs: Epochs trained, with the fraction of an unfinished one.
        epoch_ended: Whether the runs that are asked end their epoch here.
        test_means: Mean test loss and test accuracy of a run. The first call evaluates all runs at once.
    """

    step: int
    epoch: int
    epochs: float
    epoch_ended: bool
    test_means: Callable[[GroupRun], tuple[float, float]]


@runtime_checkable
class GroupCallback(Protocol):
    """A callback that can watch runs of a group, where no Trainer exists and no hook of Lightning's is called.

    All runs of a group have callbacks of the same classes and settings, in the same order. `state_dict` and
    `load_state_dict` are called as by a Trainer.
    """

    def group_check(self, datamodule: Any) -> None:
        """Raise ValueError for a loaded datamodule that the callback cannot work with."""
        return None

    def group_start(self, run: GroupRun, moment: GroupMoment) -> bool:
        """Prepare for training that begins, or resumes, here; returns whether to measure right now."""
        return False

    def group_period(self) -> int | None:
        """Number of steps between the steps at which `group_is_due` is asked; None: at ends of epochs only."""
        return None

    def group_is_due(self, moment: GroupMoment) -> bool:
        """Whether to measure the run now. Asked at ends of epochs, too."""
        return False

    @classmethod
    def group_measure(cls, due: Sequence[tuple[Any, GroupRun]], moment: GroupMoment) -> None:
        """Measure all runs whose callbacks of this class are due, given as pairs of callback and run."""
        return None

    def group_flush(self) -> None:
        """Write what is not on disk yet: a checkpoint is about to be written, or the run has ended."""
        return None

    def group_end(self) -> None:
        """The run is over; called after `group_flush`."""
        return None


@runtime_checkable
class LengthsCallback(GroupCallback, Protocol):
    """A `GroupCallback` that is given the activation lengths of every n-th training step of the group.

    Attributes:
        modules: Name patterns of the modules to measure; see `start_training.lengths.capture.Capture`.
    """

    every_n_steps: int
    modules: Sequence[str] | None

    def group_lengths(self, names: Sequence[str], steps: Sequence[StepRecord], readings: NDArray[np.float64]) -> None:
        """Take the lengths of layers `names` at some steps; row i of readings is `statistics.reading`'s of steps[i]."""


def serves_groups(target: object) -> bool:
    """Whether a target is the class of a `GroupCallback` whose methods for groups match its hooks.

    They do not in a subclass that overrides hooks of Lightning's, but no method for groups.

    Example:
        >>> class Counts(pl.Callback, GroupCallback):
        ...     def group_period(self):
        ...         return 1
        >>> class Prints(Counts):
        ...     def on_train_epoch_end(self, trainer, pl_module):
        ...         print(trainer.current_epoch)
        >>> serves_groups(Counts), serves_groups(Prints), serves_groups(pl.Callback)
        (True, False, False)
    """
    if not (isinstance(target, type) and issubclass(target, GroupCallback)):
        return False
    for base in target.__mro__:
        names = [name for name in vars(base) if not name.startswith("_")]
        if any(name.startswith("group_") for name in names):
            return True
        if any(hasattr(pl.Callback, name) for name in names):
            return False
    return False


def answers(callbacks: Iterable[pl.Callback], method: str, *arguments: Any, **named: Any) -> list[Any]:
    """What the callbacks that have this method return, in order.

    Example:
        >>> answers([pl.Callback()], "stop_reason")
        []
    """
    return [getattr(callback, method)(*arguments, **named) for callback in callbacks if hasattr(callback, method)]


def summaries(callbacks: Iterable[pl.Callback]) -> dict[str, Any]:
    """The summaries of all callbacks as one dictionary."""
    return {key: value for summary in answers(callbacks, "summary") for key, value in summary.items()}


def stop_reason(callbacks: Iterable[pl.Callback]) -> str | None:
    """Why the first callback that has ended the run did so; None where none has."""
    return next((reason for reason in answers(callbacks, "stop_reason") if reason), None)


def is_tested(callbacks: Iterable[pl.Callback]) -> bool:
    """Whether a run is tested after training: unless a callback that has ended it says otherwise."""
    return not any(stop_reason([each]) and not getattr(each, "tested_after_stop", True) for each in callbacks)
