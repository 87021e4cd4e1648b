"""A number that an experiment measures, and the interval in which the claim of the experiment expects it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Quantity:
    """A measured number with the interval that an experiment's stated expectation allows.

    Args:
        name: what is measured, understood without the experiment's figure.
        value: the measured number; NaN: the table has no runs from which it can be computed.
        low, high: ends of the allowed interval, which include the spread over seeds.
    Example:
        >>> Quantity("rank correlation", 0.1, low=0.27).holds
        False
    """

    name: str
    value: float
    low: float = -np.inf
    high: float = np.inf

    @property
    def measured(self) -> bool:
        """Whether the value could be computed."""
        return not bool(np.isnan(self.value))

    @property
    def holds(self) -> bool:
        """Whether the value is in the interval, ends included; False for NaN."""
        return bool(self.low <= self.value <= self.high)

    @property
    def allowed(self) -> str:
        """The interval as text.

        Example:
            >>> Quantity("share", 1.0, low=0.9).allowed, Quantity("share", 0.1, 0, 0.5).allowed
            ('at least 0.9', '0 to 0.5')
        """
        if np.isinf(self.high):
            return f"at least {self.low:.4g}"
        return f"at most {self.high:.4g}" if np.isinf(self.low) else f"{self.low:.4g} to {self.high:.4g}"


def mean_of(values: "pd.Series[float]") -> float:
    """Return the mean of a column; NaN if it has no numbers."""
    return float(pd.to_numeric(values, errors="coerce").astype(float).mean())


def largest_of(values: "pd.Series[float]") -> float:
    """Return the largest absolute value of a column; NaN if it has no numbers."""
    return float(values.astype(float).abs().max())
