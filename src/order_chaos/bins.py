"""An axis of a phase diagram: equal bins, with points at their centres."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from start_training.settings import NumberFromZero, PositiveInteger, checked

Array = NDArray[np.float64]


def finite_number(name: str, value: object) -> float:
    """The constraint of an end of an axis: a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{name} = {value!r}: must be a number")
    return float(value)


@checked
@dataclass(frozen=True)
class Bins:
    """`bins` equal bins from `low` to `high`.

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
        """Shape (bins + 1,)."""
        return np.linspace(self.low, self.high, self.bins + 1)

    @property
    def centres(self) -> Array:
        """Shape (bins,)."""
        return (self.edges[:-1] + self.edges[1:]) / 2


@checked
@dataclass(frozen=True)
class BinsFromZero(Bins):
    """Bins of an axis whose numbers are not negative."""

    low: NumberFromZero
