"""What a ramp of learning rates gains: at which rate it is reached, and at which it is lost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from start_training.schedules.curves import Array
from start_training.schedules.rates.range_table import diverged_at, validated
from start_training.tasks.merit import Merit

WINDOW = 5  # points in the running median whose maximum is the best merit, so that a single outlier does not count
LEVELS = np.linspace(0.1, 0.9, 5)  # fractions of the best gain; `lost_at` averages the rates at which they are lost
REACHED = np.linspace(0.3, 0.7, 5)  # fractions of the best gain; `gained_at` averages the rates that reach them
KEPT = 2 / 3  # the gain is not lost if at least this fraction of the best remains at the end
LAST, LITTLE = 3, 0.1  # a ramp may end when so many validations have less than this fraction of its best gain
NEAR = 0.05  # a loss has reached that of guessing if it is at most this fraction of it above it
LEAST = 0.02  # smallest gain that a ramp may lose, on the scale of accuracies or of log losses


@dataclass(frozen=True)
class Gain:
    """The merit of a net at the validations of a ramp, and the merit of a net that has learned nothing.

    Args:
        rates: Learning rates, shape (n,), increasing.
        merit: A score such as accuracy, larger is better, shape (n,).
        base: The merit before training, or that of guessing.
    """

    rates: Array
    merit: Array
    base: float

    @classmethod
    def of(
        cls, rates: Array, losses: Array, scores: Array, *, merit: Merit, chance: float | None, start: Sequence[float]
    ) -> "Gain":
        """Return the gain of validations.

        Args:
            rates: Learning rates, shape (n,).
            losses: Validation losses, shape (n,).
            scores: Validation scores, shape (n,); NaN if the task has none.
            merit: How loss and score are combined.
            chance: Loss of a net that guesses; None: unknown. The base of a task without `merit.likelihood` is the loss
                before training or this, whichever is smaller.
            start: Loss and score before training.
        """
        first = start[0]
        if not merit.likelihood or np.isnan(scores).all():
            first = min(first, math.inf if chance is None else chance)
        base, *values = merit.combined([first, *losses], [start[1], *scores])
        return cls(np.asarray(rates, np.float64), np.array(values, np.float64), float(base))

    @classmethod
    def in_ramp(cls, curves: pd.DataFrame, *, merit: Merit, chance: float | None, start: Sequence[float]) -> "Gain":
        """Return the gain of a ramp from its table, see `of`; where it diverged, loss is infinite and the score 0."""
        seen = validated(curves, merit)
        rates, losses, scores = (seen[name].to_numpy(np.float64) for name in ("learning_rate", "val_loss", "score"))
        if diverged_at(curves) is not None:
            rates, losses = np.append(rates, curves["learning_rate"].iloc[-1]), np.append(losses, math.inf)
            scores = np.append(scores, math.nan if np.isnan(scores).all() else 0.0)
        return cls.of(rates, losses, scores, merit=merit, chance=chance, start=start)

    @property
    def best(self) -> float:
        """The best merit: the largest running median of `WINDOW` points."""
        return float(running_median(self.merit).max(initial=self.base))

    def gained_at(self) -> float:
        """Return the geometric mean of the rates at which the gain reaches each of `REACHED`, before it is best."""
        smooth = running_median(self.merit)
        rising = np.maximum.accumulate(smooth[: int(np.argmax(smooth)) + 1] - self.base)
        reached = [int(np.argmax(rising >= level * rising[-1])) for level in REACHED]
        return float(np.exp(np.log(self.rates[reached]).mean()))

    def lost_at(self) -> float | None:
        """Return the learning rate at which the gain is lost for good.

        After the best point, the gain above `base`, divided by the best gain, is fitted with a non-increasing
        function of the log rate (isotonic regression), which ignores temporary losses. The result is the geometric
        mean of the rates at which this fit falls below each of `LEVELS`.

        Returns:
            The rate; None if the merit never rises above `base`, is best at the last rate, or still has at least
            two thirds of its gain there.
        """
        smooth = running_median(self.merit)
        start = int(np.argmax(smooth)) if len(smooth) else -1
        if start < 0 or not smooth[start] > self.base or start == len(self.merit) - 1:
            return None
        logs = np.log(self.rates[start:])
        gain = np.clip((self.merit[start:] - self.base) / (smooth[start] - self.base), 0, 1)
        weights = np.maximum(np.gradient(logs), np.finfo(np.float64).tiny)  # the last rate may occur twice
        fit = isotonic_regression(gain, weights=weights, increasing=False).x
        if fit[-1] >= KEPT:
            return None
        last = [logs[max(0, int((fit >= level).sum()) - 1)] for level in LEVELS]
        return float(np.exp(np.mean(last)))

    def is_lost(self) -> bool:
        """Return whether a ramp may end: each of its last `LAST` validations has less than `LITTLE` of its best gain.

        Example:
            >>> rates = np.geomspace(0.1, 1.0, 6)
            >>> Gain(rates, np.array([0.1, 0.5, 0.8, 0.1, 0.1, 0.1]), 0.1).is_lost()
            True
            >>> Gain(rates, np.array([0.1, 0.5, 0.8, 0.1, 0.3, 0.1]), 0.1).is_lost()
            False
        """
        last = self.merit[-LAST:] - self.base
        # Asked after each validation: the running median, which is slower, is left out where it decides nothing.
        if len(self.merit) <= LAST or not (last < LITTLE * (self.merit.max() - self.base)).all():
            return False
        smooth = running_median(self.merit)
        gain = float(smooth.max()) - self.base
        if not gain > LEAST * max(1.0, abs(self.base)) or int(np.argmax(smooth)) >= len(self.merit) - LAST:
            return False
        return bool((last < LITTLE * gain).all())


def reached(chance: float | None, ramps: Sequence[pd.DataFrame], merit: Merit) -> float | None:
    """Return the loss of guessing if the merit of ramps is measured from it, else None: from the loss before training.

    A loss that starts far above it and falls without reaching it tells of learning by that fall, since the ramps were
    too short for more. One that reaches it and falls no further may be that of a net whose outputs are constant. The
    merit of a classifier needs neither, since it contains the accuracy.

    Args:
        chance: Loss of a net that guesses; None: unknown.
        ramps: The tables of the ramps.
        merit: The merit of the task.

    Example:
        >>> ramp = pd.DataFrame({"val_loss": [600.0, 40.0, 3.9, 230.0]})
        >>> reached(0.7, [ramp], Merit("r2", likelihood=False)), reached(4.0, [ramp], Merit("r2", likelihood=False))
        (None, 4.0)
    """
    if chance is None or merit.likelihood or not ramps:
        return chance
    lowest = min(float(ramp["val_loss"].min()) for ramp in ramps)
    return None if lowest > chance + NEAR * abs(chance) else chance


def running_median(values: Array) -> Array:
    """Return the running median over up to `WINDOW` points; the symmetric window shrinks towards both ends."""
    sides = [min(index, len(values) - 1 - index, WINDOW // 2) for index in range(len(values))]
    return np.array([np.median(values[at - side : at + side + 1]) for at, side in enumerate(sides)])
