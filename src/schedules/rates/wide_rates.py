"""The range of learning rates at which validation stays near its best; a wide range suggests super-convergence."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from start_training.schedules.curves import Array, Curves
from start_training.schedules.trend import Trend

WIDE = 10.0  # smallest ratio of the largest to the smallest rate of a wide range
RISEN = 5.0  # smallest factor by which the rate of a ramp or a cycle rises
NEAR = 0.10  # a loss is near the best if they differ by at most this fraction of the fall from the chance loss
POINTS = 0.05  # an accuracy is near the best if they differ by at most this much
ROUNDING = 1e-12  # relative decrease of a rate up to which it counts as constant, since schedules round


@dataclass(frozen=True)
class WideRates:
    """A range of learning rates, over consecutive validations that are near the best.

    Attributes:
        low: Smallest rate.
        high: Largest rate.
        largest: Index of the validation at the largest rate.
        last: Index of the last validation in the range.
    """

    low: float
    high: float
    largest: int
    last: int

    @property
    def times(self) -> float:
        return self.high / self.low


def wide_rates(curves: Curves) -> WideRates | None:
    """Return the widest range of rates in which validation stays near its best, or None if it is less than tenfold.

    A validation is near the best if its loss has at least 90% of the best fall from the chance loss, and its accuracy
    is at most 5 percentage points below the best. A range consists of consecutive validations, either while the rate
    rises, or in a cycle from the largest rate down to a tenth of it. If the rate does not rise by a factor of at least
    5, there is no range, since every run whose rate is constant or falls is near its best at the end.
    Source: Smith 2018 (arXiv:1803.09820), and Smith & Topin 2017 (arXiv:1708.07120): accuracy that stays high over an
    unusually wide range of large rates in a range test; the thresholds are this project's.
    """
    rates = curves.rates
    if rates is None or len(rates) < 3 or not rates.min() > 0:
        return None
    peak = int(rates.argmax())
    if rates[peak] < RISEN * rates[: peak + 1].min():
        return None
    near = _near_the_best(curves)
    ways = [range(peak + 1)]
    if near[peak]:  # down to a tenth of the peak rate, since every run is near its best at smaller rates
        ways.append(range(peak, peak + 1 + int((rates[peak:-1] > rates[peak] / WIDE).cumprod().sum())))
    ranges = [_range_of(rates, stretch) for way in ways for stretch in _stretches(near, way)]
    widest = max(ranges, key=lambda wide: wide.times, default=None)
    return widest if widest is not None and widest.times >= WIDE else None


def rises_throughout(curves: Curves) -> bool:
    """Return whether the rate never falls and rises by a factor of 5 or more, as in a range test."""
    rates = curves.rates
    if rates is None or (rates[1:] < (1 - ROUNDING) * rates[:-1]).any():
        return False
    return float(rates[-1]) >= RISEN * float(rates[0])


def _near_the_best(curves: Curves) -> NDArray[np.bool_]:
    """Return for each validation whether its loss and accuracy are near the best, shape (m,)."""
    loss = Trend(curves.steps, curves.validation).smooth
    near = loss <= loss.min() + NEAR * max(curves.top - loss.min(), 0.0)
    if curves.accuracy is not None:
        accuracy = Trend(curves.steps, curves.accuracy).smooth
        near &= accuracy >= accuracy.max() - POINTS
    return near


def _range_of(rates: Array, stretch: range) -> WideRates:
    within = rates[stretch.start : stretch.stop]
    return WideRates(float(within.min()), float(within.max()), stretch.start + int(within.argmax()), stretch[-1])


def _stretches(near: NDArray[np.bool_], way: range) -> list[range]:
    """Return the contiguous parts of the index range `way` in which `near` is true."""
    edges = [way.start, *(i for i in way[1:] if near[i] != near[i - 1]), way.stop]
    return [range(first, stop) for first, stop in pairwise(edges) if near[first]]
