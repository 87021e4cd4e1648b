"""The scaling law of training time: A ∝ eta / ((1 − alpha) B)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from start_training.settings import fraction, positive_integer, positive_number

CONFIDENCE = 0.95


def scaling_variable(eta: float, alpha: float, batch: int) -> float:
    """eta / ((1 − alpha) B): the learning rate per sample that momentum leaves.

    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437): J² = A t + C with A proportional to it, t in epochs.
    Raises ValueError for a rate that is not positive, a momentum outside [0, 1), or a batch below 1.
    """
    rate, momentum = positive_number("eta", eta), fraction("alpha", alpha)
    return rate / ((1 - momentum) * positive_integer("batch", batch))


@dataclass(frozen=True)
class Exponent:
    """p of A ∝ x^p, and its 95% confidence interval."""

    value: float
    low: float
    high: float
    points: int


def fit_exponent(x: ArrayLike, slopes: ArrayLike) -> Exponent:
    """p of slopes ∝ x^p: least squares of log A on log x, the interval by Student's t with points − 2 degrees.

    Raises ValueError for fewer than three different x, or one of them or a slope that is not positive.
    """
    x, slopes = np.asarray(x, np.float64), np.asarray(slopes, np.float64)
    if len(np.unique(x)) < 3:
        raise ValueError(f"x = {np.unique(x).tolist()}: an exponent needs at least three different values")
    for name, values in (("x", x), ("slopes", slopes)):
        if not (values > 0).all():
            raise ValueError(f"{name} = {values.min():g}: must be above 0 to have an exponent")
    log_x, log_slopes = np.log(x) - np.log(x).mean(), np.log(slopes)
    squares = float(log_x @ log_x)
    value = float(log_x @ log_slopes) / squares
    residuals = log_slopes - log_slopes.mean() - value * log_x
    error = np.sqrt(float(residuals @ residuals) / (len(x) - 2) / squares)
    reach = float(student.ppf((1 + CONFIDENCE) / 2, len(x) - 2) * error)
    return Exponent(value, value - reach, value + reach, len(x))
