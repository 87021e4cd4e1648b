"""The axes of a phase diagram: bins of equal width, with simulated points at their centres."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from start_training.settings import NumberFromZero, PositiveInteger, checked

Array = NDArray[np.float64]


def finite_number(name: str, value: object) -> float:
    """Constraint for an end of an axis: return the value as a float, or raise ValueError unless it is finite."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) <= float(np.finfo(np.float64).max)
    ):
        raise ValueError(f"{name} = {value!r}: must be a finite number")
    return float(value)


@checked
@dataclass(frozen=True)
class Bins:
    """An axis from `low` to `high`, divided into `bins` bins of equal width.

    Raises:
        ValueError: `low` or `high` is not finite, `high` is not above `low`, or `bins` is below 1.

    Example:
        >>> Bins(low=0, high=2, bins=2).centres
        array([0.5, 1.5])
    """

    low: Annotated[float, finite_number]
    high: Annotated[float, finite_number]
    bins: PositiveInteger

    def __post_init__(self) -> None:
        if self.high <= self.low:
            raise ValueError(f"high = {self.high:g}: must be above low = {self.low:g}")

    @property
    def edges(self) -> Array:
        """The edges of the bins, shape (bins + 1,)."""
        return np.linspace(self.low, self.high, self.bins + 1)

    @property
    def centres(self) -> Array:
        """The centres of the bins, shape (bins,)."""
        return (self.edges[:-1] + self.edges[1:]) / 2


@checked
@dataclass(frozen=True)
class BinsFromZero(Bins):
    """An axis of equal bins whose lower end must not be negative."""

    low: NumberFromZero
