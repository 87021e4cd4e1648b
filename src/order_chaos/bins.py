"""An axis of a phase diagram: equal bins, and the points at their centres."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from start_training.settings import positive_integer

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """`bins` equal ones from `low` to `high`."""

    low: float
    high: float
    bins: int

    @classmethod
    def of(cls, name: str, config: Mapping[str, Any], *, at_least: float = -np.inf) -> "Bins":
        """From {low, high, bins}. Raises ValueError, naming the setting, for anything but a range from `at_least` on
        with one bin or more."""
        for key in ("low", "high", "bins"):
            if not isinstance(config, Mapping) or key not in config:
                raise ValueError(f"{name} = {config!r}: must have low, high and bins")
        low, high = (_number(f"{name}.{key}", config[key]) for key in ("low", "high"))
        if low < at_least:
            raise ValueError(f"{name}.low = {low:g}: must be at least {at_least:g}")
        if high <= low:
            raise ValueError(f"{name}.high = {high:g}: must be above {name}.low = {low:g}")
        return cls(low, high, positive_integer(f"{name}.bins", config["bins"]))

    @property
    def edges(self) -> Array:
        return np.linspace(self.low, self.high, self.bins + 1)

    @property
    def centres(self) -> Array:
        return (self.edges[:-1] + self.edges[1:]) / 2


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{name} = {value!r}: must be a number")
    return float(value)
