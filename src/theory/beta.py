"""The sum of reciprocal widths, beta, which determines failure mode 2 (activation lengths fluctuate too much)."""

import numpy as np
from numpy.typing import ArrayLike

from start_training.theory.activation import Array


def beta(widths: ArrayLike) -> float:
    """Compute beta = Σ_j 1/n_j over the hidden layers, which is depth / width if all widths are equal.

    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), theorem 5 and corollary 1.

    Args:
        widths: Width n_j of each hidden layer, shape (d,).

    Raises:
        ValueError: a width is not positive.

    Example:
        >>> beta([10, 20, 20])
        0.2
    """
    return float((1 / checked_widths(widths)).sum())


def checked_widths(widths: ArrayLike) -> Array:
    """Convert widths to a float64 array of shape (d,) and check that all are positive.

    Raises:
        ValueError: a width is not positive.
    """
    widths = np.atleast_1d(np.asarray(widths, dtype=np.float64))
    if not (widths > 0).all():
        raise ValueError(f"widths = {widths.tolist()}: all widths must be positive")
    return widths
