"""Compute the weight decay that holds J² = fan_in · Var W at 1, the edge of chaos, from its growth without decay."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from start_training.order_chaos.scaling_law import scaling_variable
from start_training.order_chaos.slope import MIN_WINDOW, Slope, fit_slope
from start_training.settings import (
    Fraction,
    PositiveInteger,
    PositiveNumber,
    checked,
    number_from_zero,
    positive_number,
)
from start_training.standard_error import mean_and_error

LAST_SHARE = 0.25  # the final J² is the mean over this last share of a run's epochs
SETTLED_CHANGE = 0.02  # J² counts as settled if its relative change over these epochs is at most this
MIN_SIGMAS = 2.0  # A counts as positive if it is above 0 by more than this number of standard errors

Array = NDArray[np.float64]


@checked
@dataclass(frozen=True)
class Descent:
    """Hyper-parameters of SGD that determine the effect of weight decay on J² = fan_in · Var W of a layer.

    Weight decay is a term λ ‖W‖² in the loss, so that PyTorch's `weight_decay` is 2 λ.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), on weight decay.

    Args:
        eta: Learning rate.
        alpha: Momentum.
        batch: B, the number of samples in an optimizer step.
        samples: S, the number of samples in an epoch.

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
        """Compute the weight decay λ* = A (1 − alpha) B / (4 eta S), which stops the growth of J² at 1.

        With it, dJ²/dt = A − `decay_rate` · J² is 0 at J² = 1.

        Args:
            A: Growth of J² per epoch without weight decay.

        Returns: λ*; PyTorch's `weight_decay` is 2 λ*.
        Raises: ValueError if A is not above 0.
        """
        return positive_number("A", A) / (4 * scaling_variable(self.eta, self.alpha, self.batch) * self.samples)

    def decay_rate(self, weight_decay: float) -> float:
        """Compute the share of J² that weight decay removes per epoch, 2 weight_decay eta S / ((1 − alpha) B).

        eta is the learning rate, alpha the momentum, B the batch size, and S the number of training samples.

        Raises:
            ValueError: `weight_decay` is below 0.
        """
        per_sample = 2 * number_from_zero("weight_decay", weight_decay)
        return per_sample * scaling_variable(self.eta, self.alpha, self.batch) * self.samples

    def smaller_batch(self, speed: float) -> int | None:
        """Return the batch size divided by `speed`, or None if that is not a whole number of at least 1."""
        batch = self.batch / speed
        return int(batch) if batch >= 1 and batch == int(batch) else None


def saturation(epochs: ArrayLike, *, start: float, A: float, rate: float) -> Array:
    """Compute J² = fan_in · Var W under weight decay at times t, the solution of dJ²/dt = A − rate · J².

    J²(t) = A / rate + (start − A / rate) exp(−rate t), or start + A t if rate is 0.

    Args:
        epochs: Times t in epochs, of any shape.
        start: J² at t = 0.
        A: Growth of J² per epoch without weight decay.
        rate: Share of J² that weight decay removes per epoch (`Descent.decay_rate`).

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
    """The line J² = A t + C fitted to J² = fan_in · Var W in training without weight decay, averaged over seeds.

    Args:
        slopes: The lines fitted to single runs, one for each seed.
    """

    slopes: Sequence[Slope]

    @property
    def A(self) -> float:
        """Growth of J² = fan_in · Var W per epoch, mean over seeds."""
        return float(np.mean([slope.A for slope in self.slopes]))

    @property
    def C(self) -> float:
        """J² = fan_in · Var W at epoch 0 according to the fitted line, mean over seeds."""
        return float(np.mean([slope.C for slope in self.slopes]))

    @property
    def fit(self) -> float:
        """Standard error of the slope A computed from the standard errors of the fits to single runs."""
        return float(np.sqrt(np.sum(np.square([slope.error for slope in self.slopes])))) / len(self.slopes)

    @property
    def seeds(self) -> float:
        """Standard error of the slope A computed from its spread over seeds; NaN for one seed."""
        return float(mean_and_error([slope.A for slope in self.slopes])[1])

    @property
    def bend(self) -> float:
        """Relative change of the slope over the window, (late − early) / A; infinite unless J² `grows`."""
        change = float(np.mean([slope.late - slope.early for slope in self.slopes]))
        return change / self.A if self.grows else math.inf

    @property
    def statistical(self) -> float:
        """Standard error of the slope A: the larger of `fit` and `seeds`, as the latter should include the former."""
        return float(np.fmax(self.fit, self.seeds))

    @property
    def bend_at_edge(self) -> float:
        """Relative change of the slope, `bend`, extrapolated to the epoch where the line reaches J² = 1.

        The factor is the distance of that epoch from the middle of the window over half its length, at least 1.
        """
        edge, _ = self.epochs_to_edge
        start, end = np.mean([slope.start for slope in self.slopes]), np.mean([slope.end for slope in self.slopes])
        return self.bend * max(float((edge - (start + end) / 2) / ((end - start) / 2)), 1.0)

    @property
    def error(self) -> float:
        """Error of the slope A including half its expected change: √(statistical² + (A · bend_at_edge / 2)²)."""
        return math.hypot(self.statistical, self.A * self.bend_at_edge / 2)

    @property
    def grows(self) -> bool:
        """Whether J² grows with every seed (`Slope.grows`)."""
        return all(slope.grows for slope in self.slopes)

    @property
    def positive(self) -> bool:
        """Whether J² grows with every seed and A is above 0 by more than `MIN_SIGMAS` standard errors."""
        return self.grows and MIN_SIGMAS * self.statistical < self.A

    @property
    def linear(self) -> bool:
        """Whether J² is linear in time (`Slope.linear`) for most seeds."""
        return sum(slope.linear for slope in self.slopes) > len(self.slopes) / 2

    @property
    def epochs_to_edge(self) -> tuple[float, float]:
        """Epoch at which the fitted line reaches J² = 1, (1 − C) / A: mean over seeds and its standard error."""
        return mean_and_error([(1 - slope.C) / slope.A for slope in self.slopes])


@dataclass(frozen=True)
class Settled:
    """J² = fan_in · Var W at the end of a run, measured over the last `LAST_SHARE` of its epochs.

    Args:
        J2: Mean of J² over these epochs.
        drift: Growth of J² per epoch during these epochs.
        epochs: Number of these epochs.
    """

    J2: float
    drift: float
    epochs: float

    @classmethod
    def of(cls, epochs: ArrayLike, J2: ArrayLike) -> "Settled":
        """Measure J² = fan_in · Var W at the end of a run.

        Args:
            epochs: Times of the measurements in epochs, increasing, shape (measurements,).
            J2: J² at each time, shape (measurements,).

        Raises:
            ValueError: There are too few measurements to fit a line: fewer than 4, or over less than 3 epochs.
        """
        t, J2 = np.asarray(epochs, np.float64), np.asarray(J2, np.float64)
        start = min(t[-1] - LAST_SHARE * (t[-1] - t[0]), t[-1] - MIN_WINDOW)
        line = fit_slope(t, J2, window=(start, float(t[-1])))
        inside = t >= start
        return cls(float(J2[inside].mean()), line.A, float(np.ptp(t[inside])))

    @property
    def moving(self) -> bool:
        """Whether J² is still changing: by more than the fraction `SETTLED_CHANGE` during the measured epochs."""
        return abs(self.drift) * self.epochs > SETTLED_CHANGE * self.J2

    def A_under_decay(self, rate: float) -> float:
        """Compute A' = dJ²/dt + rate · J², what training adds to J² per epoch; `rate` is `Descent.decay_rate`.

        A' equals A if this growth does not depend on weight decay.
        """
        return self.drift + rate * self.J2


def crossing(epochs: ArrayLike, J2: ArrayLike) -> float:
    """Return the epoch at which J² = fan_in · Var W first reaches 1, interpolated linearly; NaN if it never does.

    Args:
        epochs: Times of the measurements in epochs, increasing, shape (measurements,).
        J2: J² at each time, shape (measurements,).

    Example:
        >>> crossing([0, 1, 2], [0.2, 0.6, 1.4])
        1.5
    """
    t, J2 = np.asarray(epochs, np.float64), np.asarray(J2, np.float64)
    reached = np.flatnonzero(J2 >= 1)
    if not len(reached):
        return math.nan
    after = int(reached[0])
    if after == 0:
        return float(t[0])
    share = (1 - J2[after - 1]) / (J2[after] - J2[after - 1])
    return float(t[after - 1] + share * (t[after] - t[after - 1]))
