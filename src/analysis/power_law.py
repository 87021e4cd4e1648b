"""Fit of a power law to points."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import linregress


def power_law(x: ArrayLike, y: ArrayLike) -> tuple[float, NDArray[np.float64]]:
    """Fit y ∝ x^p by least squares of log y on log x.

    Args:
        x: Values above 0, shape (n,).
        y: Values above 0, shape (n,).

    Returns:
        The exponent p, and the fitted values of y, shape (n,).

    Example:
        >>> power, fitted = power_law([1.0, 2.0, 4.0], [3.0, 6.0, 12.0])
        >>> round(power, 6), fitted.round(6)
        (1.0, array([ 3.,  6., 12.]))
    """
    line = linregress(np.log(x), np.log(y))
    return float(line.slope), np.exp(line.intercept) * np.asarray(x, np.float64) ** line.slope
