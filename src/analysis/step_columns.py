"""Steps of a run arranged in columns of a figure, and changes of its learning rate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
COLUMNS = 256  # most columns
LONG = 1000  # the axis of steps is logarithmic if the last step is at least this, and 100 times the first
GOOD, ZERO, BROKEN, MISSING = range(4)  # what a layer shows in a column


@dataclass(frozen=True)
class StepColumns:
    """Columns of a figure that each show one measured step, or several neighbouring ones.

    Attributes:
        steps: The numbers of the measured steps, shape (steps,).
        starts: Index into `steps` of the first step of each column, shape (columns,).
        logarithmic: Whether the axis shows log(step + 1) instead of the step.
    """

    steps: NDArray[np.int64]
    starts: NDArray[np.intp]
    logarithmic: bool

    @property
    def edges(self) -> Array:
        """The edges of the columns as places on the axis, halfway between neighbouring steps, shape (columns + 1,)."""
        inner = (self.steps[self.starts[1:] - 1] + self.steps[self.starts[1:]]) / 2
        first, last = (float(np.diff(ends)[0]) if len(ends) > 1 else 1.0 for ends in (self.steps[:2], self.steps[-2:]))
        begin = self.steps[0] - (min(first, 1.0) if self.logarithmic else first) / 2
        return self.places([begin, *inner, self.steps[-1] + last / 2])

    def places(self, steps: ArrayLike) -> Array:
        """The places of steps on the axis."""
        return np.log1p(steps) if self.logarithmic else np.asarray(steps, float)

    def mean(self, values: Array) -> Array:
        """The mean of the finite values in each column, along the last axis; NaN without one."""
        finite = np.isfinite(values)
        sums = np.add.reduceat(np.where(finite, values, 0.0), self.starts, axis=-1)
        counts = np.add.reduceat(finite.astype(float), self.starts, axis=-1)
        return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)

    def range(self, values: Array) -> tuple[Array, Array]:
        """The smallest and the largest finite value in each column, along the last axis; NaN without one."""
        finite = np.isfinite(values)
        low = np.minimum.reduceat(np.where(finite, values, np.inf), self.starts, axis=-1)
        high = np.maximum.reduceat(np.where(finite, values, -np.inf), self.starts, axis=-1)
        return np.where(low <= high, low, np.nan), np.where(low <= high, high, np.nan)

    def log_means(self, lengths: Array, measured: NDArray[np.bool_]) -> tuple[Array, NDArray[np.int64]]:
        """The mean log length of each layer in each column, and what it is that a column shows.

        Args:
            lengths: Lengths, shape (layers, steps).
            measured: Whether they were measured, shape (layers, steps).

        Returns:
            Mean log lengths in nats, NaN where they are not `GOOD`, and the states: `BROKEN` if a length is not finite,
            `ZERO` if one is 0, `MISSING` if none was measured, else `GOOD`. Both have shape (layers, columns).
        """

        def some(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
            return np.logical_or.reduceat(mask, self.starts, axis=1)

        positive = np.isfinite(lengths) & (lengths > 0) & measured
        logs = self.mean(np.log(lengths, out=np.full(lengths.shape, np.nan), where=positive))
        broken, zero = some(measured & ~np.isfinite(lengths)), some(measured & (lengths == 0))
        states = np.select([broken, zero, some(measured)], [BROKEN, ZERO, GOOD], MISSING)
        return np.where(states == GOOD, logs, np.nan), states


def step_columns(steps: ArrayLike, most: int = COLUMNS) -> StepColumns:
    """Arrange measured steps in at most `most` columns of nearly equal width.

    The axis is logarithmic if the last step is at least `LONG`, and at least 100 times the first.

    Args:
        steps: The numbers of the steps, increasing, shape (steps,).
        most: Most columns.

    Example:
        >>> step_columns(range(3)).edges
        array([-0.5,  0.5,  1.5,  2.5])
        >>> long = step_columns(range(20_000))
        >>> long.logarithmic, len(long.starts), long.starts[[0, 1, 2, -1]]
        (True, 197, array([    0,     1,     2, 19241]))
    """
    numbers = np.asarray(steps, np.int64)
    every = StepColumns(numbers, np.arange(len(numbers)), bool(numbers[-1] >= max(LONG, 100 * (numbers[0] + 1))))
    if len(numbers) <= most:
        return every
    places = every.places(numbers)
    columns = np.minimum(np.floor((places - places[0]) / (places[-1] - places[0]) * most), most - 1)
    return StepColumns(numbers, np.unique(columns, return_index=True)[1], every.logarithmic)


def rate_changes(rates: ArrayLike) -> NDArray[np.intp]:
    """Find where a learning rate jumps, and where it begins or ends to rise or fall.

    Args:
        rates: The learning rate of each step, shape (steps,).

    Returns:
        Indices of the first step after a jump, and of the last step before a rate begins, or turns, to rise or fall.

    Example:
        >>> rate_changes([1.0, 1.0, 1.0, 0.1, 0.1]), rate_changes([1.0, 2.0, 3.0, 2.0, 1.0, 1.0, 1.0])
        (array([3]), array([2, 4]))
    """
    rate = np.asarray(rates, float)
    change = np.diff(rate)
    direction = np.where(np.abs(change) > 1e-9 * np.abs(rate[1:]), np.sign(change), 0)
    begins = np.flatnonzero(np.diff(direction, prepend=np.nan))  # of spans in which it rises, falls or rests
    jumps = (np.diff(begins, append=len(direction)) == 1) & (direction[begins] != 0)
    turns = ~jumps & ~np.roll(jumps, 1) & (begins > 0)
    return np.sort(np.concatenate([begins[jumps] + 1, begins[turns]]))
