"""Order and chaos of x ← ReLU(W x), W_ij normal of mean J0/N and variance J²/N, whose states grow or shrink forever."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from start_training.theory.activation import Array
from start_training.theory.edge_of_chaos import checked_ratios

HALVINGS = 52  # of [0, 1], to the last digit of a float64


class ReluRates(NamedTuple):
    """Growth in nats per iteration, at J = 1; another J adds log J to `norm` and does not change `distance`.

    Args:
        norm: Growth of the state's norm.
        distance: Growth of the distance of two close states divided by that norm.
    """

    norm: Array
    distance: Array


def relu_rates(ratios: ArrayLike) -> ReluRates:
    """The rates at which norms and distances grow under x ← ReLU(W x), for each J0/J.

    The map is positively homogeneous, so that J is a unit. A state whose mean is s times its root mean square has
    pre-activations of law a + z, a = s J0/J, in units of J times that root mean square, and settles where
    s = m1(a) / √m2(a), with m1 = E ReLU(a + z) = φ(a) + a Φ(a) and m2 = E ReLU² = (1 + a²) Φ(a) + a φ(a). Per
    iteration its norm grows by ½ log m2 and a distance by ½ log P(a + z > 0) = ½ log Φ(a), relative to the norm
    therefore by ½ log(Φ/m2); a difference in s by log |d(m1/√m2)/ds|, which is less unless J0/J is far below 0.
    The edge of chaos is J0 = 0, whatever J: Φ > m2 for a < 0 (chaos: the mean takes from the norm what distances
    keep), Φ < m2 for a > 0 (order); at J0 = 0 both are 1/2 and a distance decays more slowly than exponentially.
    Exact for infinitely many units. Source: derived here after Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), whose
    code draws the ReLU map.

    Args:
        ratios: J0/J, any shape.

    Returns:
        Two arrays of the shape of ratios, in nats per iteration.

    Raises:
        ValueError: a ratio is not finite.

    Example:
        >>> relu_rates([-0.5, 0.5]).distance.round(3)  # chaos, order
        array([ 0.098, -0.131])
    """
    ratios = checked_ratios(ratios)
    low, high = np.zeros(ratios.shape), np.ones(ratios.shape)  # s ≤ 1, as m1 ≤ √m2; m1/√m2 − s has a single zero
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        first, second = _moments(ratios * middle)
        with np.errstate(invalid="ignore"):  # 0/0 where both underflow, at an s far above the solution
            above = first / np.sqrt(second) > middle
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    a = ratios * (low + high) / 2
    first, second = _moments(a)
    of_mean = np.abs(ratios * (ndtr(a) / np.sqrt(second) - first**2 / second**1.5))
    random = 0.5 * np.log(ndtr(a) / second)
    return ReluRates(
        0.5 * np.log(second), np.maximum(random, np.log(of_mean, out=np.full(a.shape, -np.inf), where=of_mean > 0))
    )


def _moments(a: Array) -> tuple[Array, Array]:
    """E ReLU(a + z) and E ReLU(a + z)²."""
    density = np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
    return density + a * ndtr(a), (1 + a**2) * ndtr(a) + a * density
