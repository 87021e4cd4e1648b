"""How fast J² grows with training time in the ordered phase: J² = A t + C."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from start_training.settings import fraction

SHORTEST = 3.0  # epochs that a window has at least
ROUNDING = 1e-9  # of epochs, which may be fractions
SKIP = 0.5  # share of the epochs before the edge: J² rises faster at first, while the net learns most
BEND = 0.5  # |late − early| / A up to which J² is called linear

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Slope:
    """The line J² = A t + C, t in epochs, and how well it fits.

    Args:
        A: Growth of J² per epoch; 0 if rounding alone could have made it.
        error: Standard error of A.
        C: J² of the line at epoch 0.
        start: First epoch of the window.
        end: Last epoch of the window.
        points: Measurements in the window.
        early: Slope of the window's first half.
        late: Slope of its second half.
    """

    A: float
    error: float
    C: float
    start: float
    end: float
    points: int
    early: float
    late: float

    @property
    def grows(self) -> bool:
        """Whether J² grows at all: A > 0, beyond rounding."""
        return self.A > 0

    @property
    def bend(self) -> float:
        """(late − early) / A: 0 on a line, infinite where A is 0."""
        return (self.late - self.early) / self.A if self.A else math.inf

    @property
    def linear(self) -> bool:
        """Whether the halves of the window agree within `BEND` of the slope."""
        return abs(self.bend) <= BEND


def ordered_window(epochs: ArrayLike, J2: ArrayLike, *, skip: float = SKIP) -> tuple[float, float]:
    """The window that a slope is fitted over: the ordered phase without its first part.

    Args:
        epochs: Of the measurements, rising, shape (measurements,).
        J2: J² at each of them.
        skip: Share of the ordered phase that the window leaves out, unless it would then be shorter than 3 epochs.

    Returns:
        Start and end in epochs; the end is the last measurement before J² first reaches 1.

    Raises:
        ValueError: Nothing was measured before J² reached 1, or `skip` is outside [0, 1).
    """
    t, J2 = _checked(epochs, J2)
    reached = np.flatnonzero(J2 >= 1)
    ordered = t[: reached[0]] if len(reached) else t
    if not len(ordered):
        raise ValueError(f"J² = {J2[0]:.3g} at epoch {t[0]:g}: not in the ordered phase, which lies below 1")
    first, last = float(ordered[0]), float(ordered[-1])
    start = first + fraction("skip", skip) * (last - first)
    return max(first, min(start, last - SHORTEST)), last


def fit_slope(epochs: ArrayLike, J2: ArrayLike, *, window: tuple[float, float]) -> Slope:
    """The line of least squares of J² on time t.

    The standard error is that of independent residuals, times √((1 + r) / (1 − r)) if neighbouring residuals have the
    correlation r > 0. Estimated from few residuals r is too low: of ten with r = 0.5 the error is 1.7 times too small.
    A slope or residuals no larger than the rounding of the sums that they are computed from count as 0.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437): J² is linear in time while J < 1.

    Args:
        epochs: Times t of the measurements, rising, shape (measurements,).
        J2: J² at each of them.
        window: Start and end in epochs, both included.

    Raises:
        ValueError: The measurements in the window are fewer than 4, or less than 3 epochs apart.

    Example:
        >>> line = fit_slope([0, 1, 2, 3, 4], [0.25, 0.35, 0.45, 0.55, 0.65], window=(0, 4))
        >>> round(line.A, 6), round(line.C, 6), line.linear
        (0.1, 0.25, True)
    """
    t, J2 = _checked(epochs, J2)
    start, end = window
    inside = (start - ROUNDING <= t) & (t <= end + ROUNDING)
    t, J2 = t[inside], J2[inside]
    length = float(np.ptp(t)) if len(t) else 0.0
    if length < SHORTEST - ROUNDING:
        raise ValueError(
            f"window = {start:g} to {end:g} epochs: J² was measured over {length:g} of them, "
            f"and a slope needs at least {SHORTEST:g}"
        )
    if len(t) < 4:
        raise ValueError(f"window = {start:g} to {end:g} epochs: holds {len(t)} measurements, a slope needs at least 4")
    A, C = _line(t, J2)
    half = (t[0] + t[-1]) / 2
    early, late = (_line(t[part], J2[part])[0] for part in (t <= half, t >= half))
    return Slope(A, _error(t, J2, J2 - A * t - C), C, start, end, len(t), early, late)


def _line(t: Array, values: Array) -> tuple[float, float]:
    """Slope and intercept; a slope that the rounding of its sum could have made, as of constant values, is 0."""
    centred = t - t.mean()
    if len(t) < 2:
        return math.nan, math.nan
    products, squares = float(centred @ values), float(centred @ centred)
    rounding = _rounding(len(t)) * float(np.abs(centred) @ np.abs(values))
    slope = 0.0 if abs(products) <= rounding else products / squares
    return slope, float(values.mean() - slope * t.mean())


def _error(t: Array, J2: Array, residuals: Array) -> float:
    squares = float(residuals @ residuals)
    if squares <= _rounding(len(t)) ** 2 * float(J2 @ J2):
        return 0.0
    correlation = min(max(float(residuals[1:] @ residuals[:-1]) / squares, 0.0), 0.9)
    independent = math.sqrt(squares / (len(t) - 2) / float(((t - t.mean()) ** 2).sum()))
    return independent * math.sqrt((1 + correlation) / (1 - correlation))


def _rounding(terms: int) -> float:
    """How large the rounding of a sum of products can be, relative to the sum of their absolute values."""
    return (terms + 2) * float(np.finfo(np.float64).eps)


def _checked(epochs: ArrayLike, J2: ArrayLike) -> tuple[Array, Array]:
    t, values = np.asarray(epochs, np.float64), np.asarray(J2, np.float64)
    assert t.shape == values.shape and t.ndim == 1 and (np.diff(t) > 0).all()
    return t, values
