"""The weight decay with which J² settles at the edge of chaos, from how fast J² grows without weight decay."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from start_training.order_chaos.scaling_law import scaling_variable
from start_training.order_chaos.slope import SHORTEST, Slope, fit_slope
from start_training.settings import (
    Fraction,
    PositiveInteger,
    PositiveNumber,
    checked,
    number_from_zero,
    positive_number,
)
from start_training.standard_error import mean_and_error

LAST = 0.25  # share of a run's epochs, at its end, over which J² is averaged
STILL = 0.02  # relative change of J² over that share up to which J² counts as settled
SIGMAS = 2.0  # standard errors that A must be above 0

Array = NDArray[np.float64]


@checked
@dataclass(frozen=True)
class Descent:
    """Plain SGD: learning rate eta, momentum alpha, B = `batch` samples an optimizer step, S = `samples` an epoch.

    λ multiplies ‖W‖² in the loss, so that PyTorch's `weight_decay` is 2 λ; SGD adds it to the gradient.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), on weight decay.

    Example:
        >>> descent = Descent(eta=0.1, alpha=0.0, batch=32, samples=60_000)
        >>> lambda_star = descent.lambda_star(0.125)
        >>> round(lambda_star, 6)
        0.000167
        >>> descent.decay_rate(2 * lambda_star)
        0.125
    """

    eta: PositiveNumber
    alpha: Fraction
    batch: PositiveInteger
    samples: PositiveInteger

    def lambda_star(self, A: float) -> float:
        """λ* = A (1 − alpha) B / (4 eta S), with which dJ²/dt = A − `decay_rate` · J² is 0 at J² = 1.

        Args:
            A: Growth of J² per epoch without weight decay.

        Raises:
            ValueError: A is not above 0.
        """
        return positive_number("A", A) / (4 * scaling_variable(self.eta, self.alpha, self.batch) * self.samples)

    def decay_rate(self, weight_decay: float) -> float:
        """2 weight_decay eta S / ((1 − alpha) B): the share of J² that weight decay removes per epoch.

        Raises:
            ValueError: `weight_decay` is below 0.
        """
        per_sample = 2 * number_from_zero("weight_decay", weight_decay)
        return per_sample * scaling_variable(self.eta, self.alpha, self.batch) * self.samples

    def smaller_batch(self, speed: float) -> int | None:
        """B / speed; None if it is not a whole number of at least 1."""
        batch = self.batch / speed
        return int(batch) if batch >= 1 and batch == int(batch) else None


def saturation(epochs: ArrayLike, *, start: float, A: float, rate: float) -> Array:
    """J²(t) that solves dJ²/dt = A − rate · J²: A / rate + (start − A / rate) exp(−rate t).

    Args:
        epochs: Times t, of any shape.
        start: J² at t = 0.
        A: Growth of J² per epoch without weight decay.
        rate: `Descent.decay_rate`; with 0 the solution is the line start + A t.

    Returns:
        J², of the shape of `epochs`.
    """
    t = np.asarray(epochs, np.float64)
    if rate == 0:
        return start + A * t
    limit = A / rate
    return limit + (start - limit) * np.exp(-rate * t)


@dataclass(frozen=True)
class MeanSlope:
    """The line J² = A t + C without weight decay, as the mean of the lines of several seeds.

    Args:
        slopes: The line of one run for each seed.
    """

    slopes: Sequence[Slope]

    @property
    def A(self) -> float:
        """Growth of J² per epoch."""
        return float(np.mean([slope.A for slope in self.slopes]))

    @property
    def C(self) -> float:
        """J² of the line at epoch 0."""
        return float(np.mean([slope.C for slope in self.slopes]))

    @property
    def fit(self) -> float:
        """Standard error of A that follows from the errors of the fits."""
        return float(np.sqrt(np.sum(np.square([slope.error for slope in self.slopes])))) / len(self.slopes)

    @property
    def seeds(self) -> float:
        """Standard error of A over seeds; NaN for one seed."""
        return float(mean_and_error([slope.A for slope in self.slopes])[1])

    @property
    def bend(self) -> float:
        """(late − early) / A, of the slopes of the window's halves, mean over seeds; infinite unless J² `grows`."""
        change = float(np.mean([slope.late - slope.early for slope in self.slopes]))
        return change / self.A if self.grows else math.inf

    @property
    def statistical(self) -> float:
        """The larger of `fit` and `seeds`: the spread over seeds contains the error of each fit."""
        return float(np.fmax(self.fit, self.seeds))

    @property
    def bend_at_edge(self) -> float:
        """`bend`, extrapolated to the epoch where the line reaches J² = 1.

        It is multiplied by that epoch's distance from the middle of the window over half the window, at least by 1.
        """
        edge, _ = self.epochs_to_edge
        start, end = np.mean([slope.start for slope in self.slopes]), np.mean([slope.end for slope in self.slopes])
        return self.bend * max(float((edge - (start + end) / 2) / ((end - start) / 2)), 1.0)

    @property
    def error(self) -> float:
        """√(statistical² + (A · bend_at_edge / 2)²): the slope may change by A · bend_at_edge up to the edge."""
        return math.hypot(self.statistical, self.A * self.bend_at_edge / 2)

    @property
    def grows(self) -> bool:
        """Whether J² grows with every seed (`Slope.grows`)."""
        return all(slope.grows for slope in self.slopes)

    @property
    def positive(self) -> bool:
        """Whether J² grows, and A is above 0 by more than `SIGMAS` statistical errors."""
        return self.grows and SIGMAS * self.statistical < self.A

    @property
    def linear(self) -> bool:
        """Whether J² is linear in time (`Slope.linear`) with most seeds."""
        return sum(slope.linear for slope in self.slopes) > len(self.slopes) / 2

    @property
    def epochs_to_edge(self) -> tuple[float, float]:
        """(1 − C) / A, the epoch where the line reaches J² = 1: mean over seeds and its standard error."""
        return mean_and_error([(1 - slope.C) / slope.A for slope in self.slopes])


@dataclass(frozen=True)
class Settled:
    """J² in the last `LAST` of a run's epochs.

    Args:
        J2: Mean of J².
        drift: Growth of J² per epoch.
        epochs: Epochs of that share.
    """

    J2: float
    drift: float
    epochs: float

    @classmethod
    def of(cls, epochs: ArrayLike, J2: ArrayLike) -> "Settled":
        """From J² at each of `epochs`, both of shape (measurements,).

        Raises:
            ValueError: there are fewer than 3 epochs, which a line needs.
        """
        t, J2 = np.asarray(epochs, np.float64), np.asarray(J2, np.float64)
        start = min(t[-1] - LAST * (t[-1] - t[0]), t[-1] - SHORTEST)
        line = fit_slope(t, J2, window=(start, float(t[-1])))
        inside = t >= start
        return cls(float(J2[inside].mean()), line.A, float(np.ptp(t[inside])))

    @property
    def moving(self) -> bool:
        """Whether J² changed by more than `STILL` of itself over that share."""
        return abs(self.drift) * self.epochs > STILL * self.J2

    def A_under_decay(self, rate: float) -> float:
        """A' = dJ²/dt + rate · J²: the growth that weight decay of this `decay_rate` counteracts; ideally A."""
        return self.drift + rate * self.J2


def crossing(epochs: ArrayLike, J2: ArrayLike) -> float:
    """The epoch at which J² first reaches 1, interpolated linearly between measurements; NaN if it never does."""
    t, J2 = np.asarray(epochs, np.float64), np.asarray(J2, np.float64)
    reached = np.flatnonzero(J2 >= 1)
    if not len(reached):
        return math.nan
    after = int(reached[0])
    if after == 0:
        return float(t[0])
    share = (1 - J2[after - 1]) / (J2[after] - J2[after - 1])
    return float(t[after - 1] + share * (t[after] - t[after - 1]))
