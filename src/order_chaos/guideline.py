"""The weight decay with which J² saturates at the edge of chaos, from how fast it grows without any."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from start_training.order_chaos.scaling import scaling_variable
from start_training.order_chaos.slope import SHORTEST, Slope, fit_slope
from start_training.settings import number_from_zero, positive_integer, positive_number

LAST = 0.25  # share of a run over which it is asked where J² settled
STILL = 0.02  # of J²: a larger change over that share is one
SIGMAS = 2.0  # standard errors that a slope must be above 0

Array = NDArray[np.float64]


def decay_rate(decay: float, *, eta: float, alpha: float, batch: int, samples: int) -> float:
    """4 λ eta S / ((1 − alpha) B): the share of J² that weight decay takes in an epoch of S samples.

    λ multiplies ‖W‖² in the loss; PyTorch's `weight_decay` is 2 λ. It is SGD's, whose decay is added to the gradient;
    S / B stands for the steps of an epoch.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), on weight decay.
    Raises ValueError for a decay below 0, and as `scaling_variable`.
    """
    per_sample = 4 * number_from_zero("decay", decay) * scaling_variable(eta, alpha, batch)
    return per_sample * positive_integer("samples", samples)


def edge_decay(A: float, *, eta: float, alpha: float, batch: int, samples: int) -> float:
    """λ* = A (1 − alpha) B / (4 eta S): where dJ²/dt = A − `decay_rate` · J² is 0 at J² = 1.

    A: growth of J² per epoch without weight decay.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), on weight decay.
    Raises ValueError for a slope that is not above 0, and as `scaling_variable`.
    """
    growth = positive_number("A", A)
    return growth / (4 * scaling_variable(eta, alpha, batch) * positive_integer("samples", samples))


def saturation(epochs: ArrayLike, *, start: float, A: float, rate: float) -> Array:
    """J²(t) of dJ²/dt = A − rate · J² from J²(0) = start: A / rate + (start − A / rate) exp(−rate t).

    Without decay (rate 0) the line start + A t.
    """
    t = np.asarray(epochs, np.float64)
    if rate == 0:
        return start + A * t
    limit = A / rate
    return limit + (start - limit) * np.exp(-rate * t)


@dataclass(frozen=True)
class Growth:
    """A, the growth of J² per epoch without weight decay, from the slopes of one run for each seed.

    fit: the standard error that the fits state, of the mean over seeds. seeds: the standard error over seeds, NaN of
    one. bend: (late − early) / A, mean over seeds, infinite unless J² `grows`. C: where the mean line
    starts, at epoch 0.
    """

    slopes: Sequence[Slope]

    @property
    def A(self) -> float:
        return float(np.mean([slope.A for slope in self.slopes]))

    @property
    def C(self) -> float:
        return float(np.mean([slope.C for slope in self.slopes]))

    @property
    def fit(self) -> float:
        return float(np.sqrt(np.sum(np.square([slope.error for slope in self.slopes])))) / len(self.slopes)

    @property
    def seeds(self) -> float:
        return standard_error([slope.A for slope in self.slopes])

    @property
    def bend(self) -> float:
        change = float(np.mean([slope.late - slope.early for slope in self.slopes]))
        return change / self.A if self.grows else math.inf

    @property
    def statistical(self) -> float:
        """The larger of `fit` and `seeds`: each seed's fit errs on its own, so that seeds show it, too."""
        return float(np.fmax(self.fit, self.seeds))

    @property
    def bend_at_edge(self) -> float:
        """`bend`, gone on with to the epoch where the line reaches J² = 1: times its distance from the window's middle
        over half the window, at least 1."""
        edge, _ = self.epochs_to_edge
        start, end = (
            float(np.mean(each)) for each in zip(*((slope.start, slope.end) for slope in self.slopes), strict=True)
        )
        return self.bend * max((edge - (start + end) / 2) / ((end - start) / 2), 1.0)

    @property
    def error(self) -> float:
        """√(statistical² + (A · bend_at_edge / 2)²): by A · bend_at_edge the slope changes up to the edge, if it goes
        on as it does in the window."""
        return math.hypot(self.statistical, self.A * self.bend_at_edge / 2)

    @property
    def grows(self) -> bool:
        """Whether `Slope.grows` holds of every seed."""
        return all(slope.grows for slope in self.slopes)

    @property
    def positive(self) -> bool:
        """Whether J² grows, and A is above 0 by more than `SIGMAS` of its statistical errors."""
        return self.grows and SIGMAS * self.statistical < self.A

    @property
    def linear(self) -> bool:
        """Whether `Slope.linear` holds of most seeds."""
        return sum(slope.linear for slope in self.slopes) > len(self.slopes) / 2

    @property
    def epochs_to_edge(self) -> tuple[float, float]:
        """(1 − C) / A, mean over seeds and its standard error."""
        each = [(1 - slope.C) / slope.A for slope in self.slopes]
        return float(np.mean(each)), standard_error(each)


@dataclass(frozen=True)
class Settled:
    """Where J² stood in the last `LAST` of a run: its mean, and by how much it still grew an epoch."""

    J2: float
    drift: float
    epochs: float  # that the share has

    @classmethod
    def of(cls, epochs: ArrayLike, J2: ArrayLike) -> "Settled":
        """Of a curve of at least 3 epochs, which a line needs. Raises ValueError for a shorter one."""
        t, J2 = np.asarray(epochs, np.float64), np.asarray(J2, np.float64)
        start = min(t[-1] - LAST * (t[-1] - t[0]), t[-1] - SHORTEST)
        line = fit_slope(t, J2, window=(start, float(t[-1])))
        inside = t >= start
        return cls(float(J2[inside].mean()), line.A, float(np.ptp(t[inside])))

    @property
    def moving(self) -> bool:
        """Whether it changed by more than `STILL` of itself over the share."""
        return abs(self.drift) * self.epochs > STILL * self.J2

    def growth(self, rate: float) -> float:
        """A' = dJ²/dt + rate · J²: the growth that the decay of this rate works against; A if decay left it alone."""
        return self.drift + rate * self.J2


def crossing(epochs: ArrayLike, J2: ArrayLike) -> float:
    """The epoch at which J² first reaches 1, between measurements by a line; NaN where it does not."""
    t, J2 = np.asarray(epochs, np.float64), np.asarray(J2, np.float64)
    reached = np.flatnonzero(J2 >= 1)
    if not len(reached):
        return math.nan
    after = int(reached[0])
    if after == 0:
        return float(t[0])
    share = (1 - J2[after - 1]) / (J2[after] - J2[after - 1])
    return float(t[after - 1] + share * (t[after] - t[after - 1]))


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; NaN of one value."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
