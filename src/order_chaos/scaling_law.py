"""The scaling law of training time: J² = fan_in · Var W grows per epoch in proportion to eta / ((1 − alpha) B)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from start_training.settings import Fraction, PositiveInteger, PositiveNumber, checked

CONFIDENCE = 0.95


@checked
def scaling_variable(eta: PositiveNumber, alpha: Fraction, batch: PositiveInteger) -> float:
    """Compute the scaling variable eta / ((1 − alpha) B), the effective learning rate per sample.

    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437): J² = fan_in · Var W of a layer is A t + C, where t is in
    epochs and A is proportional to the scaling variable.

    Args:
        eta: Learning rate.
        alpha: Momentum.
        batch: B, the number of samples in an optimizer step.

    Raises:
        ValueError: `eta` or `batch` is not positive, or `alpha` is outside [0, 1).

    Example:
        >>> round(scaling_variable(0.1, 0.9, 50), 6)
        0.02
    """
    return eta / ((1 - alpha) * batch)


@dataclass(frozen=True)
class Exponent:
    """The exponent p of a power law A ∝ x^p fitted to data.

    Args:
        value: p.
        low: Lower end of its confidence interval, with confidence `CONFIDENCE`.
        high: Upper end of that interval.
        points: Number of data points.
    """

    value: float
    low: float
    high: float
    points: int


def fit_exponent(x: ArrayLike, slopes: ArrayLike) -> Exponent:
    """Fit the exponent p of slopes ∝ x^p by least squares of log(slopes) on log(x).

    Args:
        x: Scaling variables, shape (points,).
        slopes: Growth rate A for each scaling variable, shape (points,).

    Returns:
        p with its confidence interval, by Student's t with points − 2 degrees of freedom.

    Raises:
        ValueError: `x` has fewer than three different values, or a value of `x` or `slopes` is not positive.

    Example:
        >>> round(fit_exponent([1.0, 2.0, 4.0], [3.0, 6.0, 12.0]).value, 6)
        1.0
    """
    x, slopes = np.asarray(x, np.float64), np.asarray(slopes, np.float64)
    if len(np.unique(x)) < 3:
        raise ValueError(f"x = {np.unique(x).tolist()}: must hold at least three different values to fit an exponent")
    for name, values in (("x", x), ("slopes", slopes)):
        if not (values > 0).all():
            raise ValueError(f"{name} = {values.min():g}: must be above 0 to fit an exponent")
    log_x, log_slopes = np.log(x) - np.log(x).mean(), np.log(slopes)
    squares = float(log_x @ log_x)
    value = float(log_x @ log_slopes) / squares
    residuals = log_slopes - log_slopes.mean() - value * log_x
    error = np.sqrt(float(residuals @ residuals) / (len(x) - 2) / squares)
    reach = float(student.ppf((1 + CONFIDENCE) / 2, len(x) - 2) * error)
    return Exponent(value, value - reach, value + reach, len(x))
