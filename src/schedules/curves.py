"""The curves of a run or of a range test, at the points where the net was validated."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """m validations before training diverged, each array (m,) but for what is not known: rates and accuracy, None.

    training: the mean loss of all steps since the validation before. diverged_at: the first step whose loss is not
    finite, None where none is. top: the loss of a guess, or else the greatest of the first losses.
    """

    steps: Array
    training: Array
    validation: Array
    rates: Array | None
    accuracy: Array | None
    top: float
    diverged_at: int | None

    @classmethod
    def of(
        cls,
        steps: ArrayLike,
        train_loss: ArrayLike,
        val_loss: ArrayLike,
        *,
        rates: ArrayLike | None = None,
        val_accuracy: ArrayLike | None = None,
        chance: float | None = None,
        diverged_at: int | None = None,
    ) -> "Curves":
        """From rows of equal length, by rising step. NaN is what was not measured there.

        A row is divergence whose loss is infinite, or that has neither loss, and so is what comes after it.
        """
        at, train, val = (_row_of_numbers(values) for values in (steps, train_loss, val_loss))
        if not len(at) == len(train) == len(val):
            raise ValueError(f"steps = {len(at)} of them: must be as many as losses, {len(train)} and {len(val)}")
        if not (np.diff(at) > 0).all():
            raise ValueError("steps: must rise from row to row")
        bad = np.isinf(train) | np.isinf(val) | (np.isnan(train) & np.isnan(val))
        if bad.any() and (diverged_at is None or at[bad][0] < diverged_at):
            diverged_at = int(at[bad][0])
        kept = ~bad if diverged_at is None else (at < diverged_at) & ~bad
        at, train, val = at[kept], train[kept], val[kept]
        points = np.flatnonzero(np.isfinite(val))
        rate, accuracy = (_measured(values, kept, at, points) for values in (rates, val_accuracy))
        training = _means(at, train, points)
        firsts = [float(values[0]) for values in (train[np.isfinite(train)], val[points]) if len(values)]
        top = chance if chance is not None else max(firsts, default=0.0)
        return cls(at[points], training, val[points], rate, accuracy, top, diverged_at)

    def rate_at(self, index: int) -> float | None:
        """The learning rate at a validation."""
        return None if self.rates is None or not len(self.rates) else float(self.rates[index])


def _row_of_numbers(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _measured(
    values: ArrayLike | None, kept: NDArray[np.bool_], steps: Array, points: NDArray[np.intp]
) -> Array | None:
    """The values at the points, those that are missing there interpolated; None where there are none at all."""
    if values is None:
        return None
    row = _row_of_numbers(values)[kept]
    there = np.isfinite(row)
    return np.interp(steps[points], steps[there], row[there]) if there.any() else None


def _means(steps: Array, train: Array, points: NDArray[np.intp]) -> Array:
    """Of each point the mean since the one before, (m,); where nothing was measured since, interpolated."""
    there = np.isfinite(train)
    if not len(points) or not there.any():
        return np.full(len(points), np.nan)
    starts, until = np.array([0, *(points[:-1] + 1)]), points[-1] + 1
    sums = np.add.reduceat(np.where(there, train, 0.0)[:until], starts)
    counts = np.add.reduceat(there[:until].astype(np.float64), starts)
    means = np.divide(sums, counts, out=np.full(len(points), np.nan), where=counts > 0)
    known = np.isfinite(means)
    if known.all():
        return means
    return np.where(known, means, np.interp(steps[points], steps[there], train[there]))
