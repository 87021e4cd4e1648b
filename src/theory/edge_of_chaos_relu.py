"""Order and chaos of the iterated random layer x ← ReLU(W x), with W_ij normal of mean J0/N and variance J²/N."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from start_training.theory.activation import Array
from start_training.theory.edge_of_chaos import checked_ratios

HALVINGS = 52  # bisections of [0, 1], which reach the precision of float64


class ReluRates(NamedTuple):
    """Growth rates of states under x ← ReLU(W x), in nats per iteration.

    Args:
        norm: Growth of log ‖x‖ at J = 1; for another J add log J.
        distance: Growth of log(distance of two close states / ‖x‖), the same for all J: chaos above 0, order below 0.
    """

    norm: Array
    distance: Array


def relu_rates(ratios: ArrayLike) -> ReluRates:
    """Compute the rates at which norms and distances of states grow under x ← ReLU(W x), for each ratio J0/J.

    The map is positively homogeneous, so that J only sets the unit of x. Let a state have the mean s times its root
    mean square. In units of J times that root mean square its pre-activations are a + z, with a = s J0/J and z standard
    normal. s converges to m1(a) / √m2(a), where m1 = E ReLU(a + z) = φ(a) + a Φ(a) and
    m2 = E ReLU(a + z)² = (1 + a²) Φ(a) + a φ(a), with φ and Φ the normal density and distribution function.
    In one iteration the log norm grows by ½ log m2 and the log distance by ½ log P(a + z > 0) = ½ log Φ(a), so that the
    relative distance grows by ½ log(Φ/m2). A difference in s grows by log |d(m1/√m2)/ds|, which is smaller unless J0/J
    is far below 0. The edge of chaos is J0 = 0 for every J: chaos (Φ > m2) for a < 0, order (Φ < m2) for a > 0. At
    J0 = 0, Φ = m2 = 1/2 and distances decay more slowly than exponentially. All rates are those of infinitely many
    units. Source: derived, for the ReLU map in the code of Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437).

    Args:
        ratios: J0/J, any shape.

    Returns:
        Rates of norm and distance, two arrays of the shape of ratios, in nats per iteration.

    Raises:
        ValueError: a ratio is not finite.

    Example:
        >>> relu_rates([-0.5, 0.5]).distance.round(3)  # chaos, order
        array([ 0.098, -0.131])
    """
    ratios = checked_ratios(ratios)
    low, high = np.zeros(ratios.shape), np.ones(ratios.shape)  # s ≤ 1, since m1 ≤ √m2; m1/√m2 − s has a single zero
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
    """Compute E ReLU(a + z) and E ReLU(a + z)² for standard normal z."""
    density = np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
    return density + a * ndtr(a), (1 + a**2) * ndtr(a) + a * density
