"""Write the tables `lengths/` and `steps/`, from the statistics of training steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from start_training.lengths.growth_rate import first_nonfinite_layer, growth_rate
from start_training.lengths.statistics import Statistics
from start_training.runs.table import Table, read_first_part


class StepRecord(NamedTuple):
    """An optimizer step: its number from 0, its epoch, its learning rate and the training loss before the update."""

    step: int
    epoch: int
    learning_rate: float
    loss: float


class MeasuredSteps(NamedTuple):
    """Steps in which layers of the same names were measured.

    Args:
        names: Names of the layers 0 … d.
        steps: The training steps.
        statistics: Length statistics of leading shape (steps,).
        phase: Name of the forward pass.
        optimizers: Name of the optimizer that stepped, for each step.
    """

    names: Sequence[str]
    steps: Sequence[StepRecord]
    statistics: Statistics
    phase: str = ""
    optimizers: Sequence[str] = ()


class LengthTables:
    """The tables `lengths/` and `steps/` in a directory.

    If training steps have several forward passes, rows of both tables are told apart by a column `phase`, and those of
    `steps/` name the `optimizer` that learning rate and loss belong to. The columns are added at the first such step.
    There is a third table `updates/` from the first call of `append_updates` on.

    Args:
        directory: The directory that contains both tables.
        phased: Whether to have these columns from the start.
    """

    def __init__(self, directory: Path, *, phased: bool = False) -> None:
        self._tables = (Table(directory / "lengths"), Table(directory / "steps"))
        self._updates = directory / "updates"
        first = read_first_part(directory / "steps", columns=["phase"])
        self.phased = phased if first is None else "phase" in first

    def append(self, measured: Sequence[MeasuredSteps]) -> None:
        """Append the rows of several sets of steps, all of them later than the existing rows."""
        if not self.phased and len({one.phase for one in measured}) > 1:
            for table in self._tables:
                table.rewrite(lambda rows: _with_phase(rows, measured[0]))
            self.phased = True
        of_layers = [length_rows(*one[:3]) for one in measured]
        for table, parts in zip(self._tables, (of_layers, [step_rows(*one[1:3]) for one in measured]), strict=True):
            if self.phased:
                parts = [_with_phase(part, one) for part, one in zip(parts, measured, strict=True)]
            table.append(parts[0] if len(parts) == 1 else pd.concat(parts).sort_values("step", kind="stable"))

    def append_updates(self, rows: pd.DataFrame) -> None:
        """Append rows of the table `updates/`, all of them of later steps than the existing rows."""
        Table(self._updates).append(rows)

    def truncate(self, step: int) -> None:
        """Delete the rows of `step` and of later steps."""
        for table in self._existing():
            table.truncate(step)

    def compact(self) -> None:
        """Merge the files of each table into one."""
        for table in self._existing():
            table.compact()

    def _existing(self) -> list[Table]:
        return [*self._tables, *([Table(self._updates)] if self._updates.is_dir() else [])]


def _with_phase(rows: pd.DataFrame, measured: MeasuredSteps) -> pd.DataFrame:
    """Add the column `phase`, and for rows of `steps/` the column `optimizer`."""
    rows.insert(1, "phase", np.full(len(rows), measured.phase, dtype=object))
    if "loss" in rows:
        names = measured.optimizers
        rows["optimizer"] = names if len(names) == len(rows) else np.full(len(rows), names[0], dtype=object)
    return rows


def length_rows(names: Sequence[str], steps: Sequence[StepRecord], statistics: Statistics) -> pd.DataFrame:
    """Return rows of the table `lengths/`, one per step and layer, ordered by step.

    Args:
        names: names of the layers 0 … d.
        steps: the training steps.
        statistics: length statistics of leading shape (steps,).
    Returns:
        Columns step, layer (int32), name, mean and variance (ddof 1) of the length over samples, and count, the number
        of samples.
    """
    layers = len(names)
    return pd.DataFrame(
        {
            "step": np.repeat([step.step for step in steps], layers),
            "layer": np.tile(np.arange(layers, dtype=np.int32), len(steps)),
            "name": np.tile(np.array(names, dtype=object), len(steps)),
            "mean": statistics.mean.ravel(),
            "variance": statistics.variance.ravel(),
            "count": statistics.counts.ravel().astype(np.int64),
        }
    )


def step_rows(steps: Sequence[StepRecord], statistics: Statistics) -> pd.DataFrame:
    """Return rows of the table `steps/`, one per training step.

    Args:
        steps: the training steps.
        statistics: length statistics of leading shape (steps,).
    Returns:
        Columns step, epoch, loss, learning_rate, growth_rate (failure mode 1), layer_variance and
        relative_layer_variance (failure mode 2), and first_nonfinite_layer (missing if all lengths are finite).
    """
    first = first_nonfinite_layer(statistics.mean)
    return pd.DataFrame(
        {
            **{name: [getattr(step, name) for step in steps] for name in ("step", "epoch", "loss", "learning_rate")},
            "growth_rate": growth_rate(statistics.mean),
            "layer_variance": statistics.layer_variance,
            "relative_layer_variance": statistics.relative_layer_variance,
            "first_nonfinite_layer": pd.arrays.IntegerArray(first, mask=first < 0),
        }
    )
