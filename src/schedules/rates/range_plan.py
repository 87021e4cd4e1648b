"""The ramps of an adaptive range test: a coarse one over all rates, then finer ones around what it found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.schedules.ramp import ramp_rates
from start_training.schedules.rates.gain import Gain

COARSE = 0.4  # fraction of the updates that the coarse ramp gets; the fine ones get all that are left
EPOCHS, FEW = 20, 200  # an adaptive test has at most so many epochs, if these have more than FEW updates
SEVERAL = 100  # updates that are left from which on there are two fine ramps, on different batches
LOST = (
    0.75  # fine ramps are placed at the rate that loses the gain to this power, times that which gains it to the rest
)
BELOW, OCTAVES = 4.0, 6.5  # they begin at a fraction of that rate, 1 / BELOW, and rise by this many factors of two


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


def at_most(steps: int, batches: float, *, adaptive: bool) -> int:
    """Return the number of updates of a range test: an adaptive one has at most `EPOCHS` epochs, but `FEW` in any case.

    Otherwise a net overfits a small set, and gets worse at any rate.

    Args:
        steps: Number of updates that are allowed.
        batches: Number of batches of an epoch; infinite: unknown.
        adaptive: Whether the test is adaptive.

    Example:
        >>> at_most(600, 13, adaptive=True), at_most(600, 21, adaptive=True), at_most(100, 3, adaptive=True)
        (260, 420, 100)
    """
    return int(min(steps, max(FEW, EPOCHS * batches))) if adaptive else steps


def first_ramp(steps: int, points: int, low: float, high: float, kind: str, *, adaptive: bool) -> Ramp:
    """Return the first ramp of a range test: a coarse one if the test is adaptive and wider than a fine ramp.

    A linear ramp is not refined, as in Smith 2018 (arXiv:1803.09820).

    Args:
        steps: Number of updates of the whole test.
        points: Number of validations of the whole test.
        low: Smallest rate.
        high: Largest rate.
        kind: `exponential` or `linear`.
        adaptive: Whether other ramps may follow.

    Example:
        >>> len(first_ramp(200, 100, 1e-5, 10.0, "exponential", adaptive=True).rates)
        80
        >>> len(first_ramp(200, 100, 0.1, 1.0, "exponential", adaptive=True).rates)
        200
    """
    coarse = round(COARSE * steps)
    if not adaptive or kind != "exponential" or high / low <= 2**OCTAVES or coarse < 2:
        return Ramp.of(steps, points, low, high, kind)
    return Ramp.of(coarse, max(2, round(points * coarse / steps)), low, high, kind, adaptive=True)


def fine_ramps(around: float, steps: int, points: int) -> list[Ramp]:
    """Return one or two equal ramps that begin at a fourth of a rate and rise by `OCTAVES`.

    There are two where the updates suffice, because the rate at which a single ramp loses its gain varies by more than
    an octave with the order of the batches.

    Args:
        around: The rate, see `placed_at`.
        steps: Number of updates that are left.
        points: Number of validations that are left.

    Example:
        >>> [len(ramp.rates) for ramp in fine_ramps(0.1, 130, 65)]
        [65, 65]
    """
    count, low = 2 if steps >= SEVERAL else 1, around / BELOW
    ramp = Ramp.of(steps // count, max(2, points // count), low, low * 2**OCTAVES, "exponential", adaptive=True)
    return [ramp] * count


def placed_at(coarse: pd.DataFrame, gain: Gain) -> float:
    """Return the rate at which fine ramps are placed: lost^`LOST` · gained^(1 − `LOST`), see `Gain`.

    The rate that gains varies less with the order of the batches than the rate that loses, and what a ramp finds
    depends on where it begins.

    Args:
        coarse: The table of the coarse ramp.
        gain: Its gain. If that was not lost, such as after a ramp of few updates in which nothing was learned, the rate
            is the largest one at which the validation loss had not doubled.
    """
    lost = gain.lost_at()
    if lost is not None:
        return lost**LOST * gain.gained_at() ** (1 - LOST)
    seen = coarse[coarse["val_loss"].notna()]
    first = seen["val_loss"].iloc[0] if len(seen) else math.nan
    kept = seen[seen["val_loss"] <= first + abs(first)] if len(seen) else coarse
    return float(kept["learning_rate"].iloc[-1] if len(kept) else coarse["learning_rate"].iloc[0])


def in_words(coarse: pd.DataFrame, fine: Sequence[pd.DataFrame]) -> str:
    """Return what an adaptive test has done, given the tables of its coarse and of its fine ramps."""
    return f"{_counted([coarse])}, then {_counted(fine)}"


def _counted(ramps: Sequence[pd.DataFrame]) -> str:
    rates = pd.concat([ramp["learning_rate"] for ramp in ramps])
    updates = " and ".join(str(len(ramp)) for ramp in ramps)
    return f"{updates} updates from {rates.min():.2g} to {rates.max():.2g}"
