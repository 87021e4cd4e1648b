"""Methods that a callback can implement besides Lightning's hooks: for run reports, and for groups of replicas.

Callbacks are recognized by their methods, not by their class. Each method of `RunReport` is optional. A callback with
all methods of `GroupCallback` (inherit from it to get defaults that do nothing) also works in runs that
`hydra/launcher=replicas` trains together in one program. A run with a callback that lacks them is trained on its own.
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

from start_training.lengths.coverage import Coverage
from start_training.runs.length_tables import StepRecord
from start_training.runs.metrics_file import MetricsLogger


class RunReport(Protocol):
    """Optional methods of a callback that contribute to the report of its run."""

    tested_after_stop: bool = True  # whether to test a run that this callback has stopped

    def summary(self) -> dict[str, Any]:
        """Return plain data to add to the run's summary.json, under keys that no other callback uses."""

    def sentence(self, summary: Mapping[str, Any], *, short: bool = False) -> str:
        """Return the text to print on the terminal when the run has ended; "" prints nothing.

        Args:
            summary: The content of the run's summary.json.
            short: Whether the text becomes part of the single line that a sweep prints for each job.
        """

    def stop_reason(self) -> str | None:
        """Return why this callback stopped the run, or None if it did not."""

    def recover(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        """Undo steps after a loss that is not finite, so that the run can go on; return False if it has diverged."""

    def check_settings(self, datamodule: Any) -> None:
        """Raise ValueError if the callback cannot work with the settings of a datamodule, which is not loaded yet."""


class GroupRun(Protocol):
    """The interface that a run trained in a group of replicas offers to its callbacks."""

    net: nn.Module
    optimizer: Optimizer
    callbacks: list[pl.Callback]
    directory: Path
    datamodule: Any
    should_stop: bool  # a callback sets it to True to stop the run, which also ends its epoch

    @property
    def batch_size(self) -> int:
        """The number of samples in an optimizer step."""

    @property
    def loggers(self) -> Sequence[MetricsLogger]:
        """Objects to log metrics with, in place of the run's loggers; a `MetricsFile` stands for metrics.csv."""

    def set_step(self, step: int) -> dict[str, Any]:
        """Set the optimizer to the learning rate and momentum of a step, and return its parameter group."""


@dataclass(frozen=True)
class GroupMoment:
    """The training progress of a group of runs, passed to their callbacks.

    Attributes:
        step: The number of optimizer steps done.
        epoch: The epoch of the last step, counted from 0.
        epochs: The number of epochs trained, including the fraction of an unfinished epoch.
        epoch_ended: Whether the epoch of these runs ends at this step.
        test_means: Function that returns mean test loss and test accuracy of a run. The first call evaluates all runs.
    """

    step: int
    epoch: int
    epochs: float
    epoch_ended: bool
    test_means: Callable[[GroupRun], tuple[float, float]]


@runtime_checkable
class GroupCallback(Protocol):
    """A callback that works in runs of a group of replicas, which have no Trainer and do not call Lightning's hooks.

    All runs of a group have callbacks of the same classes and settings, in the same order. `state_dict` and
    `load_state_dict` are called for checkpoints, as in a Trainer. Settings that need certain values in a group are in a
    dictionary `group_settings` of the class, if there are any; runs with other values are trained on their own.
    """

    def group_check(self, datamodule: Any) -> None:
        """Raise ValueError if the callback cannot work in a group, or with a datamodule, which is loaded."""
        for name, value in getattr(self, "group_settings", {}).items():
            if getattr(self, name) != value:
                raise ValueError(f"{name} = {getattr(self, name)}: groups of replicas need {name} = {value}")

    def group_start(self, run: GroupRun, moment: GroupMoment) -> bool:
        """Prepare when training begins or resumes; return whether to measure before the first step."""
        return False

    def group_period(self) -> int | None:
        """Return every how many steps `group_is_due` is called; None: only at the end of each epoch."""
        return None

    def group_is_due(self, moment: GroupMoment) -> bool:
        """Return whether to measure the run now; called every `group_period` steps and at the end of each epoch."""
        return False

    @classmethod
    def group_measure(cls, due: Sequence[tuple[Any, GroupRun]], moment: GroupMoment) -> None:
        """Measure runs, given as pairs (callback of this class, run) for which `group_is_due` was true."""
        return None

    def group_flush(self) -> None:
        """Write pending rows to disk; called before a checkpoint is written and when the run has ended."""
        return None

    def group_end(self) -> None:
        """Clean up after the end of the run; called after `group_flush`."""
        return None


@runtime_checkable
class LengthsCallback(GroupCallback, Protocol):
    """A `GroupCallback` that receives the activation lengths measured in every n-th training step of the group.

    Attributes:
        every_n_steps: Measure every n-th step only.
        layers: The layers to measure; see `start_training.lengths.layer_choice.choose_layers`.
        layers_setting: The name of the setting that chooses them, for messages.
        coverage: What the measured layers cover; the group sets it.
        sample_axis: The axis of samples, if it is not to be found; as in `choose_layers`.
    """

    every_n_steps: int
    layers: str | Sequence[str]
    layers_setting: str
    coverage: Coverage | None
    sample_axis: int | Mapping[str, int] | None

    def group_lengths(self, names: Sequence[str], steps: Sequence[StepRecord], readings: NDArray[np.float64]) -> None:
        """Store measured lengths of the layers `names`; `readings[i]` is the `pack_statistics` of `steps[i]`."""


def serves_groups(target: object) -> bool:
    """Return whether `target` is a class of callbacks that work in groups of replicas.

    That is a subclass of `GroupCallback`. A class that overrides Lightning's hooks or private methods but no `group_`
    method is excluded, since the inherited `group_` methods may not do what its hooks do.

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
        names = [name for name in vars(base) if not name.startswith("__")]
        if any(name.startswith("group_") for name in names):
            return True
        if any(hasattr(pl.Callback, name) or (name.startswith("_") and callable(vars(base)[name])) for name in names):
            return False
    return False


def call_implemented(callbacks: Iterable[pl.Callback], method: str, *arguments: Any, **named: Any) -> list[Any]:
    """Call a method of those callbacks that implement it, and return their results in order.

    Example:
        >>> call_implemented([pl.Callback()], "stop_reason")
        []
    """
    return [getattr(callback, method)(*arguments, **named) for callback in callbacks if hasattr(callback, method)]


def summaries(callbacks: Iterable[pl.Callback]) -> dict[str, Any]:
    """Merge the summaries of all callbacks into one dictionary."""
    return {key: value for summary in call_implemented(callbacks, "summary") for key, value in summary.items()}


def stop_reason(callbacks: Iterable[pl.Callback]) -> str | None:
    """Return the reason of the first callback that stopped the run, or None if none did."""
    return next((reason for reason in call_implemented(callbacks, "stop_reason") if reason), None)


def is_tested(callbacks: Iterable[pl.Callback]) -> bool:
    """Return whether to test a run after training; False if a callback with `tested_after_stop = False` stopped it."""
    return all(getattr(callback, "tested_after_stop", True) for callback in callbacks if stop_reason([callback]))
