"""Over how wide a range of rising learning rates a net stays near its best: the sign of super-convergence."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from start_training.schedules.curves import Array, Curves
from start_training.schedules.trend import Trend

WIDE = 10.0  # least ratio of the largest to the smallest rate of a wide range
RISEN = 5.0  # least factor by which the rate must have risen: a ramp or a cycle
NEAR = 0.10  # of the fall from a guess's loss to the best: a loss this close to the best is near it
POINTS = 0.05  # of accuracy: an accuracy this close to the best is near it
ROUNDING = 1e-12  # relative to a rate: a smaller fall is a schedule's rounding, and the rate counts as constant


@dataclass(frozen=True)
class WideRates:
    """A range of learning rates.

    Attributes:
        low: The smallest rate.
        high: The largest rate.
        largest: The index of the validation at the largest rate.
        last: The index of the last validation in the range.
    """

    low: float
    high: float
    largest: int
    last: int

    @property
    def times(self) -> float:
        return self.high / self.low


def wide_rates(curves: Curves) -> WideRates | None:
    """The widest range of rates through which validation stays near its best; None where it is less than tenfold.

    Near its best is a loss that has kept at least 90% of the fall from the loss of a guess, and an accuracy at most 5
    points below the best. A range is of consecutive validations, either while the rate rises, or in a cycle from its
    largest rate down to a tenth of it. Rates that never rise by a factor 5 give no range: at the end of rates that
    only fall, or stay, every run is near its best.
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
    if near[peak]:  # down to a tenth, below which every run is near its best
        ways.append(range(peak, peak + 1 + int((rates[peak:-1] > rates[peak] / WIDE).cumprod().sum())))
    ranges = [_range_of(rates, stretch) for way in ways for stretch in _stretches(near, way)]
    widest = max(ranges, key=lambda wide: wide.times, default=None)
    return widest if widest is not None and widest.times >= WIDE else None


def rises_throughout(curves: Curves) -> bool:
    """Whether the rate never falls, and rises by a factor 5 or more: a ramp, which is to end in instability."""
    rates = curves.rates
    if rates is None or (rates[1:] < (1 - ROUNDING) * rates[:-1]).any():
        return False
    return float(rates[-1]) >= RISEN * float(rates[0])


def _near_the_best(curves: Curves) -> NDArray[np.bool_]:
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
    """The parts of `way` without a gap in which `near` holds."""
    edges = [way.start, *(i for i in way[1:] if near[i] != near[i - 1]), way.stop]
    return [range(first, stop) for first, stop in pairwise(edges) if near[first]]
