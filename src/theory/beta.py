"""beta, the one number of an architecture that decides failure mode 2."""

import numpy as np
from numpy.typing import ArrayLike

from start_training.theory.activation import Array


def beta(widths: ArrayLike) -> float:
    """beta = Σ_j 1/n_j over the hidden layers: depth / width where all widths are equal.

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
    """Widths as float64, shape (d,).

    Raises:
        ValueError: a width is not positive.
    """
    widths = np.atleast_1d(np.asarray(widths, dtype=np.float64))
    if not (widths > 0).all():
        raise ValueError(f"widths = {widths.tolist()}: a width must be positive")
    return widths
