"""Means over a Gaussian, by quadrature that is exact where an activation has its kink at zero."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

POINTS = 100  # on each side of zero
REACH = 10.0  # standard deviations; beyond them lies a mass of 1e-23


def gaussian_nodes(mean: ArrayLike, deviation: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes x and weights w with E[f(x)] = Σ w f(x) for x normal with this mean and standard deviation.

    Both of shape (…, 2 POINTS), … that of mean and deviation broadcast. Gauss–Legendre in √|x| on x < 0 and x > 0
    apart, so that functions smooth on either side (ReLU, tanh, GELU) are integrated to 1e-9, and to 1e-7 where a
    deviation of thousands makes of tanh a step: nodes crowd at zero. A deviation of 0 is the mean itself.
    Raises ValueError for a deviation below 0.
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
def _legendre(points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of [−1, 1]; they take longer to find than to use."""
    return np.polynomial.legendre.leggauss(points)
