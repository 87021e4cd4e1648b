"""Means over a Gaussian, by quadrature that is exact where an activation has its kink at zero."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from start_training.theory.activation import Array

POINTS = 100  # on each side of zero
REACH = 10.0  # standard deviations; beyond them lies a mass of 1e-23


def gaussian_nodes(mean: ArrayLike, deviation: ArrayLike) -> tuple[Array, Array]:
    """Nodes x and weights w with E[f(x)] = Σ w f(x) for x normal with this mean and standard deviation.

    Gauss–Legendre quadrature in √|x|, on x < 0 and on x > 0 separately. Functions that are smooth on either side (ReLU,
    tanh, GELU) are integrated to 1e-9, and to 1e-7 where a deviation of thousands makes tanh a step, as nodes are dense
    at zero. At a deviation of 0 the result is f(mean).

    Args:
        mean: Of x, any shape.
        deviation: Standard deviation of x, of a shape that broadcasts with that of mean.

    Returns:
        Nodes and weights, both of shape (…, 2 POINTS), where … is that of mean and deviation broadcast.

    Raises:
        ValueError: a deviation is below 0.

    Example:
        >>> x, weights = gaussian_nodes(1.0, 2.0)
        >>> round(float((weights * x**2).sum()), 6)  # 1² + 2²
        5.0
    """
    mean, deviation = np.broadcast_arrays(np.asarray(mean, np.float64), np.asarray(deviation, np.float64))
    if not (deviation >= 0).all():
        raise ValueError(f"deviation = {deviation.min():g}: must be at least 0")
    zero = np.divide(-mean, deviation, out=np.zeros_like(mean), where=deviation > 0).clip(-REACH, REACH)[..., None]
    unit, unit_weights = _legendre(POINTS)
    unit, unit_weights = (unit + 1) / 2, unit_weights / 2  # of [0, 1]
    squared, jacobian = unit**2, 2 * unit * unit_weights
    below, above = zero + REACH, REACH - zero  # lengths of the two parts
    z = np.concatenate([zero - below * squared, zero + above * squared], axis=-1)
    weights = np.concatenate([below * jacobian, above * jacobian], axis=-1)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return mean[..., None] + deviation[..., None] * z, weights * density


@cache
def _legendre(points: int) -> tuple[Array, Array]:
    """Nodes and weights on [−1, 1], cached: computing them takes longer than using them."""
    return np.polynomial.legendre.leggauss(points)
