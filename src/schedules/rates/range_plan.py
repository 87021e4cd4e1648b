"""The ramps of an adaptive range test: coarse ones over all rates, then finer ones around what they found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.schedules.ramp import ramp_rates
from start_training.schedules.rates.gain import Gain

SEVERAL = 150  # updates of a test from which on there are two ramps of each kind, on different batches
COARSE = (
    0.25,
    0.4,
)  # fraction of the updates of each of two coarse ramps, and of one; the fine ones get all that are left
LOST = (
    0.75  # a fine ramp is placed at the rate that loses the gain to this power, times that which gains it to the rest
)
BELOW, OCTAVES = 4.0, 6.5  # it begins at this fraction of that rate, and rises by this many factors of two


@dataclass(frozen=True)
class Ramp:
    """The learning rate of each update of a ramp, and the numbers of the updates that a validation follows.

    Args:
        rates: Shape (steps,), increasing.
        validated: Numbers from 0 to steps − 1.
        adaptive: Whether the ramp may end because its gain is lost, see `Gain.is_lost`.
    """

    rates: NDArray[np.float64]
    validated: frozenset[int]
    adaptive: bool = False

    @classmethod
    def of(cls, steps: int, points: int, low: float, high: float, kind: str, *, adaptive: bool = False) -> "Ramp":
        """Return a ramp from `low` to `high` with evenly spaced validations, including the first and the last update.

        Args:
            steps: Number of updates.
            points: Number of validations.
            low: First rate.
            high: Last rate.
            kind: `exponential` or `linear`.
            adaptive: Whether the ramp may end because its gain is lost.
        """
        validated = np.linspace(0, steps - 1, min(points, steps)).round().astype(int).tolist()
        return cls(ramp_rates(steps, min_lr=low, max_lr=high, ramp=kind), frozenset(validated), adaptive)


def first_ramps(steps: int, points: int, low: float, high: float, kind: str, *, adaptive: bool) -> list[Ramp]:
    """Return the first ramps of a range test: coarse ones if the test is adaptive and wider than a fine ramp.

    There are two where the updates suffice, because the rate at which a single ramp loses its gain varies by more than
    an octave with the order of the batches. A linear ramp is not refined, as in Smith 2018 (arXiv:1803.09820).

    Args:
        steps: Number of updates of the whole test.
        points: Number of validations of the whole test.
        low: Smallest rate.
        high: Largest rate.
        kind: `exponential` or `linear`.
        adaptive: Whether other ramps may follow.

    Example:
        >>> [len(ramp.rates) for ramp in first_ramps(200, 100, 1e-5, 10.0, "exponential", adaptive=True)]
        [50, 50]
        >>> [len(ramp.rates) for ramp in first_ramps(200, 100, 0.1, 1.0, "exponential", adaptive=True)]
        [200]
    """
    count = 2 if steps >= SEVERAL else 1
    coarse = round(COARSE[count == 1] * steps)
    if not adaptive or kind != "exponential" or high / low <= 2**OCTAVES or coarse < 2:
        return [Ramp.of(steps, points, low, high, kind)]
    return [Ramp.of(coarse, max(2, round(points * coarse / steps)), low, high, kind, adaptive=True)] * count


def fine_ramps(around: float, steps: int, points: int, count: int) -> list[Ramp]:
    """Return equal ramps that begin at a fourth of a rate and rise by `OCTAVES`.

    Args:
        around: The rate, see `placed_at`.
        steps: Number of updates that are left.
        points: Number of validations that are left.
        count: Number of ramps.

    Example:
        >>> [len(ramp.rates) for ramp in fine_ramps(0.1, 130, 65, 2)]
        [65, 65]
    """
    low = around / BELOW
    each = Ramp.of(steps // count, max(2, points // count), low, low * 2**OCTAVES, "exponential", adaptive=True)
    return [each] * count


def placed_at(gains: Sequence[Gain]) -> float | None:
    """Return the rate at which fine ramps are placed: c = lost^`LOST` · gained^(1 − `LOST`), each a geometric mean.

    The rate that gains varies less with the order of the batches than the rate that loses, and what a ramp finds
    depends on where it begins.

    Args:
        gains: Those of the coarse ramps; one that did not lose its gain does not count.
    Returns:
        The rate; None if no gain was lost.
    """
    turned = [(lost, gain.gained_at()) for gain in gains if (lost := gain.lost_at()) is not None]
    if not turned:
        return None
    lost, gained = np.log(turned).mean(axis=0)
    return float(np.exp(LOST * lost + (1 - LOST) * gained))


def not_doubled(ramps: Sequence[pd.DataFrame]) -> float:
    """Return the largest rate at which the validation loss had not doubled, for ramps in which nothing was lost."""
    largest = []
    for curves in ramps:
        seen = curves[curves["val_loss"].notna()]
        first = seen["val_loss"].iloc[0] if len(seen) else math.nan
        kept = seen[seen["val_loss"] <= first + abs(first)] if len(seen) else curves
        largest.append(float(kept["learning_rate"].iloc[-1] if len(kept) else curves["learning_rate"].iloc[0]))
    return float(np.exp(np.log(largest).mean()))


def in_words(coarse: Sequence[pd.DataFrame], fine: Sequence[pd.DataFrame]) -> str:
    """Return what an adaptive test has done, given the tables of its coarse and of its fine ramps."""
    return f"{_counted(coarse)}, then {_counted(fine)}"


def _counted(ramps: Sequence[pd.DataFrame]) -> str:
    rates = pd.concat([ramp["learning_rate"] for ramp in ramps])
    updates = " and ".join(str(len(ramp)) for ramp in ramps)
    return f"{updates} updates from {rates.min():.2g} to {rates.max():.2g}"
