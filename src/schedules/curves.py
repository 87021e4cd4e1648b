"""Loss curves of a run at the steps where the net was validated."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """Losses, learning rates and accuracies of a run at its m validations before it diverged.

    Attributes:
        steps: Step of each validation, shape (m,), increasing.
        training: Mean training loss of the steps since the previous validation, shape (m,).
        validation: Validation loss, shape (m,).
        rates: Learning rate, shape (m,), or None if unknown.
        accuracy: Validation accuracy, shape (m,), or None if unknown.
        top: Chance loss if known, else the greater of the first training loss and the first validation loss.
        diverged_at: First step whose loss is not finite, or None if all losses are finite.
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
        """Build curves from columns of a metrics table, each of shape (n,) with NaN where nothing was measured.

        Training has diverged at the first row with an infinite loss, or with neither a training nor a validation loss;
        this row and later ones are left out.

        Args:
            steps: Step of each row, increasing.
            train_loss: Training loss.
            val_loss: Validation loss.
            rates: Learning rate; None if unknown.
            val_accuracy: Validation accuracy; None if unknown.
            chance: Chance loss, log(number of classes); None: the greater of the first losses takes its place.
            diverged_at: Step of a loss that was not finite, if no row has it.

        Raises:
            ValueError: the columns have different lengths, or the steps do not increase.
        """
        at, train, val = (_array(values) for values in (steps, train_loss, val_loss))
        if not len(at) == len(train) == len(val):
            raise ValueError(
                f"steps has {len(at)} values: must be as many as train_loss ({len(train)}) and val_loss ({len(val)})"
            )
        if not (np.diff(at) > 0).all():
            raise ValueError("steps: must increase from each row to the next")
        bad = np.isinf(train) | np.isinf(val) | (np.isnan(train) & np.isnan(val))
        if bad.any() and (diverged_at is None or at[bad][0] < diverged_at):
            diverged_at = int(at[bad][0])
        finite = ~bad if diverged_at is None else (at < diverged_at) & ~bad
        at, train, val = at[finite], train[finite], val[finite]
        points = np.flatnonzero(np.isfinite(val))
        rate, accuracy = (
            None if values is None else _interpolated(_array(values)[finite], at, points)
            for values in (rates, val_accuracy)
        )
        firsts = [float(values[0]) for values in (train[np.isfinite(train)], val[points]) if len(values)]
        top = chance if chance is not None else max(firsts, default=0.0)
        return cls(at[points], _means(at, train, points), val[points], rate, accuracy, top, diverged_at)

    def rate_at(self, index: int) -> float | None:
        """Return the learning rate at the validation of this index, or None if it is unknown."""
        return None if self.rates is None or not len(self.rates) else float(self.rates[index])


def _array(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _interpolated(row: Array, steps: Array, points: NDArray[np.intp]) -> Array | None:
    """Return the values at the indices `points`, interpolated where missing; None if all values are missing."""
    known = np.isfinite(row)
    return np.interp(steps[points], steps[known], row[known]) if known.any() else None


def _means(steps: Array, train: Array, points: NDArray[np.intp]) -> Array:
    """Return for each point the mean training loss since the previous point, shape (m,).

    If no training loss was measured since the previous point, the loss is interpolated.
    """
    known = np.isfinite(train)
    at_points = _interpolated(train, steps, points)
    if not len(points) or at_points is None:
        return np.full(len(points), np.nan)
    starts, until = np.array([0, *(points[:-1] + 1)]), points[-1] + 1
    sums = np.add.reduceat(np.where(known, train, 0.0)[:until], starts)
    counts = np.add.reduceat(known[:until].astype(np.float64), starts)
    return np.divide(sums, counts, out=at_points, where=counts > 0)
