"""The loss curves of a run or of a range test, at the steps where the net was validated."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """The m validations of a run before its training diverged.

    Attributes:
        steps: Shape (m,), rising.
        training: Shape (m,), the mean training loss of all steps since the validation before.
        validation: Shape (m,), the validation loss.
        rates: Shape (m,), the learning rate; None where it is unknown.
        accuracy: Shape (m,), the validation accuracy; None where it is unknown.
        top: The loss of a guess, or else the greatest of the first losses.
        diverged_at: The first step whose loss is not finite; None where all are finite.
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
        """Curves from columns of a metrics table, shape (n,), NaN where something was not measured.

        Training diverged at the first row with an infinite loss or with neither loss; later rows are left out.
        Raises ValueError for columns of different lengths, and steps that do not rise from row to row.

        Args:
            chance: The loss of a guess, log(number of classes); None: the greater of the first losses instead.
            diverged_at: The step of a loss that was not finite, if it is in none of the rows.
        """
        at, train, val = (_array(values) for values in (steps, train_loss, val_loss))
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
        rate, accuracy = (
            None if values is None else _interpolated(_array(values)[kept], at, points)
            for values in (rates, val_accuracy)
        )
        firsts = [float(values[0]) for values in (train[np.isfinite(train)], val[points]) if len(values)]
        top = chance if chance is not None else max(firsts, default=0.0)
        return cls(at[points], _means(at, train, points), val[points], rate, accuracy, top, diverged_at)

    def rate_at(self, index: int) -> float | None:
        """The learning rate at a validation; None where it is unknown."""
        return None if self.rates is None or not len(self.rates) else float(self.rates[index])


def _array(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _interpolated(row: Array, steps: Array, points: NDArray[np.intp]) -> Array | None:
    """The values at `points`, interpolated where one is missing; None where the whole row is missing."""
    known = np.isfinite(row)
    return np.interp(steps[points], steps[known], row[known]) if known.any() else None


def _means(steps: Array, train: Array, points: NDArray[np.intp]) -> Array:
    """For each point the mean since the point before, (m,); interpolated where nothing was measured since."""
    known = np.isfinite(train)
    at_points = _interpolated(train, steps, points)
    if not len(points) or at_points is None:
        return np.full(len(points), np.nan)
    starts, until = np.array([0, *(points[:-1] + 1)]), points[-1] + 1
    sums = np.add.reduceat(np.where(known, train, 0.0)[:until], starts)
    counts = np.add.reduceat(known[:until].astype(np.float64), starts)
    return np.divide(sums, counts, out=at_points, where=counts > 0)
