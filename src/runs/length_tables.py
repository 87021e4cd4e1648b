"""Build the rows of a run's tables `lengths/` and `steps/` from the statistics of training steps."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from start_training.lengths.growth_rate import first_nonfinite_layer, growth_rate
from start_training.lengths.statistics import Statistics


class StepRecord(NamedTuple):
    """An optimizer step: its number from 0, its epoch, its learning rate and the training loss before the update."""

    step: int
    epoch: int
    learning_rate: float
    loss: float


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
