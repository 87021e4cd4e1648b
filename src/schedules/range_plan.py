"""The ramps of an adaptive range test: a coarse one over all rates, then finer ones around what it found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.schedules.ramp import ramp_rates

COARSE = 0.4  # fraction of the updates that the coarse ramp gets; the fine ones get all that are left
SEVERAL = 100  # updates that are left from which on there are two fine ramps, on different batches
BELOW, ABOVE, MOST = 8.0, 4.0, 6.0  # the fine ramp rises from found / BELOW to found · ABOVE, or up to found · MOST
LOST = 3  # consecutive validations that have lost what the best had gained, after which a ramp may end
FAR = 2.0  # a loss above this multiple of chance begins far above it; one above this multiple of the first diverges
CLEAR = 0.1  # fall of the loss, relative to the first one, that a ramp may lose again


@dataclass(frozen=True)
class Ramp:
    """The learning rate of each update of a ramp, and the numbers of the updates that a validation follows.

    Args:
        rates: Shape (steps,), increasing.
        validated: Numbers from 0 to steps − 1.
        enough: The rate from which on the ramp may end because its gain is lost, see `is_lost`.
    """

    rates: NDArray[np.float64]
    validated: frozenset[int]
    enough: float = math.inf

    @classmethod
    def of(cls, steps: int, points: int, low: float, high: float, kind: str, *, enough: float = math.inf) -> "Ramp":
        """Return a ramp from `low` to `high` with evenly spaced validations, including the first and the last update.

        Args:
            steps: Number of updates.
            points: Number of validations.
            low: First rate.
            high: Last rate.
            kind: `exponential` or `linear`.
            enough: The rate from which on the ramp may end.
        """
        validated = np.linspace(0, steps - 1, min(points, steps)).round().astype(int).tolist()
        return cls(ramp_rates(steps, min_lr=low, max_lr=high, ramp=kind), frozenset(validated), enough)

    @property
    def coarse(self) -> bool:
        """Whether the ramp only finds where a finer one is to be, and may end at any rate."""
        return self.enough == 0


def first_ramp(steps: int, points: int, low: float, high: float, kind: str, *, adaptive: bool) -> Ramp:
    """Return the first ramp of a range test: a coarse one if the test is adaptive and wider than a fine ramp.

    A linear ramp is not refined, as in Smith 2018 (arXiv:1803.09820).

    Args:
        steps: Number of updates of the whole test.
        points: Number of validations of the whole test.
        low: Smallest rate.
        high: Largest rate.
        kind: `exponential` or `linear`.
        adaptive: Whether a second ramp may follow.

    Example:
        >>> len(first_ramp(200, 100, 1e-5, 10.0, "exponential", adaptive=True).rates)
        80
        >>> len(first_ramp(200, 100, 0.1, 1.0, "exponential", adaptive=True).rates)
        200
    """
    coarse = round(COARSE * steps)
    if not adaptive or kind != "exponential" or high / low <= BELOW * MOST or coarse < 2:
        return Ramp.of(steps, points, low, high, kind)
    return Ramp.of(coarse, max(2, round(points * coarse / steps)), low, high, kind, enough=0.0)


def fine_ramps(found: float, steps: int, points: int) -> list[Ramp]:
    """Return one or two equal ramps from `found` / `BELOW` to `found` · `MOST`.

    They may end from `found` · `ABOVE` on. There are two where the updates suffice, because the rate at which a single
    ramp loses its gain varies by more than an octave with the order of the batches.

    Args:
        found: The rate at which the coarse ramp lost what it had gained, or at which it ended.
        steps: Number of updates that are left.
        points: Number of validations that are left.

    Example:
        >>> [len(ramp.rates) for ramp in fine_ramps(0.1, 130, 65)]
        [65, 65]
    """
    count = 2 if steps >= SEVERAL else 1
    low, high, enough = found / BELOW, found * MOST, found * ABOVE
    return [Ramp.of(steps // count, max(2, points // count), low, high, "exponential", enough=enough)] * count


def is_lost(losses: list[float], chance: float | None = None) -> bool:
    """Return whether a ramp need not go on: its last `LOST` validations have lost what the best had gained.

    That is, each loss is back at 90% of a clear fall, or above the first by more than it had fallen, and clearly. If
    the first loss is far above chance, only a fall below chance is a gain.

    Example:
        >>> is_lost([2.0, 1.0, 2.6, 2.7, 3.0]), is_lost([2.0, 1.0, 2.6, 2.7]), is_lost([2.0, 2.05, 2.09, 2.05])
        (True, False, False)
        >>> is_lost([40.0, 27.0, 39.0, 45.0, 50.0]), is_lost([40.0, 27.0, 39.0, 45.0, 50.0], chance=2.3)
        (True, False)
    """
    if len(losses) <= LOST:
        return False
    first = losses[0]
    level = chance if chance is not None and first > FAR * chance > 0 else first
    fall, least = max(0.0, level - min(losses)), CLEAR * abs(level)
    limit = level - 0.1 * fall if fall > least else first + max(fall, CLEAR * abs(first))
    return all(not loss <= limit for loss in losses[-LOST:])


def where_lost(curves: pd.DataFrame, turned_at: float) -> float:
    """Return the rate around which the fine ramp is to be.

    Args:
        curves: The table of the coarse ramp.
        turned_at: The rate at which the merit was lost; NaN if that is unknown, such as after a ramp of few updates in
            which nothing was learned. Then it is the largest rate at which the validation loss had not doubled.
    """
    if math.isfinite(turned_at):
        return turned_at
    seen = curves[curves["val_loss"].notna()]
    first = seen["val_loss"].iloc[0] if len(seen) else math.nan
    kept = seen[seen["val_loss"] <= first + (FAR - 1) * abs(first)] if len(seen) else curves
    return float(kept["learning_rate"].iloc[-1] if len(kept) else curves["learning_rate"].iloc[0])


def in_words(ramps: Sequence[pd.DataFrame], found: float) -> str:
    """Return what an adaptive test has done.

    Args:
        ramps: The tables of its ramps, the coarse one first.
        found: The rate around which the fine ones are.
    """
    (coarse, *fine), rates = ramps, [ramp["learning_rate"] for ramp in ramps]
    low, high = min(rate.min() for rate in rates[1:]), max(rate.max() for rate in rates[1:])
    made = " and ".join(str(len(ramp)) for ramp in fine)
    return (
        f"{len(coarse)} updates from {rates[0].min():.2g} to {rates[0].max():.2g} found about {found:.2g}, then {made} "
        f"from {low:.2g} to {high:.2g}"
    )
