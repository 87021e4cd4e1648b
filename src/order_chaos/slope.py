"""Fit the growth of J² = fan_in · Var W per epoch in the ordered phase of training: J² = A t + C."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from start_training.settings import fraction

MIN_WINDOW = 3.0  # shortest window of a fit, in epochs
ROUNDING = 1e-9  # tolerance for epochs, which may be fractional
SKIP = 0.5  # share of the ordered phase left out of a fit: J² rises faster at first, while the net learns most
MAX_BEND = 0.5  # J² counts as linear up to this value of |late − early| / A

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Slope:
    """The line J² = A t + C fitted to J² = fan_in · Var W of a layer over t in epochs, and the quality of the fit.

    Args:
        A: Growth of J² per epoch; 0 if it is no larger than rounding errors.
        error: Standard error of A.
        C: J² of the line at epoch 0.
        start: First epoch of the window.
        end: Last epoch of the window.
        points: Number of measurements in the window.
        early: Slope of a line fitted to the first half of the window.
        late: Slope of a line fitted to the second half of the window.
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
        """Whether the fitted J² grows: its slope A is above 0 by more than rounding errors."""
        return self.A > 0

    @property
    def bend(self) -> float:
        """Relative change of the slope over the window of the fit, (late − early) / A; infinite if A is 0."""
        return (self.late - self.early) / self.A if self.A else math.inf

    @property
    def linear(self) -> bool:
        """Whether the slopes of the two halves of the window differ by at most `MAX_BEND` times A."""
        return abs(self.bend) <= MAX_BEND


def ordered_window(epochs: ArrayLike, J2: ArrayLike, *, skip: float = SKIP) -> tuple[float, float]:
    """Return the epochs over which to fit the growth of J²: the ordered phase (J² < 1) without its first part.

    Args:
        epochs: Times of the measurements in epochs, increasing, shape (measurements,).
        J2: J² at each time, shape (measurements,).
        skip: Share of the ordered phase to leave out at its beginning; less is left out if the window would otherwise
            be shorter than 3 epochs.

    Returns:
        Start and end of the window in epochs; the end is the last measurement before J² first reaches 1.

    Raises:
        ValueError: Nothing was measured before J² reached 1, or `skip` is outside [0, 1).
    """
    t, J2 = _checked(epochs, J2)
    reached = np.flatnonzero(J2 >= 1)
    ordered = t[: reached[0]] if len(reached) else t
    if not len(ordered):
        raise ValueError(f"J² = {J2[0]:.3g} at epoch {t[0]:g}: must be below 1, in the ordered phase, to fit a slope")
    first, last = float(ordered[0]), float(ordered[-1])
    start = first + fraction("skip", skip) * (last - first)
    return max(first, min(start, last - MIN_WINDOW)), last


def fit_slope(epochs: ArrayLike, J2: ArrayLike, *, window: tuple[float, float]) -> Slope:
    """Fit the line J² = A t + C to measurements of J² = fan_in · Var W during training, by least squares.

    The standard error is that for independent residuals, times √((1 + r) / (1 − r)) if neighbouring residuals have a
    correlation r > 0. An r estimated from few residuals is too low: with ten residuals and a true r of 0.5, the
    standard error is 1.7 times too small. A slope or residuals no larger than their rounding errors are set to 0.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437): J² is linear in time while J < 1.

    Args:
        epochs: Times t of the measurements in epochs, increasing, shape (measurements,).
        J2: J² at each time, shape (measurements,).
        window: Start and end in epochs; only measurements in this closed interval are used.

    Raises:
        ValueError: The window holds fewer than 4 measurements, or they span less than 3 epochs.

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
    if length < MIN_WINDOW - ROUNDING:
        raise ValueError(
            f"window = {start:g} to {end:g} epochs: its measurements of J² span {length:g} epochs; "
            f"a slope needs at least {MIN_WINDOW:g}"
        )
    if len(t) < 4:
        raise ValueError(
            f"window = {start:g} to {end:g} epochs: holds {len(t)} measurements of J²; a slope needs at least 4"
        )
    A, C = _line(t, J2)
    half = (t[0] + t[-1]) / 2
    early, late = (_line(t[part], J2[part])[0] for part in (t <= half, t >= half))
    return Slope(A, _error(t, J2, J2 - A * t - C), C, start, end, len(t), early, late)


def _line(t: Array, values: Array) -> tuple[float, float]:
    """Return slope and intercept; a slope no larger than its rounding error, as for constant values, is set to 0."""
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
    """Return the largest rounding error of a sum of `terms` products, relative to the sum of their absolute values."""
    return (terms + 2) * float(np.finfo(np.float64).eps)


def _checked(epochs: ArrayLike, J2: ArrayLike) -> tuple[Array, Array]:
    t, values = np.asarray(epochs, np.float64), np.asarray(J2, np.float64)
    assert t.shape == values.shape and t.ndim == 1 and (np.diff(t) > 0).all()
    return t, values
