"""Where a random layer's map x ← φ(W x) turns from order to chaos, for W_ij normal of mean J0/N and variance J²/N."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from start_training.theory.activation import TANH
from start_training.theory.gaussian import gaussian_nodes

Array = NDArray[np.float64]

STEPS = 200  # of Newton's method, which halves the error where a root is double and doubles its digits elsewhere
ACCURACY = 1e-12
WIDEST = 1e4  # J up to which a boundary is looked for
HALVINGS = 32  # of the range of log J, to 2e-9 of J


class FixedPoint(NamedTuple):
    """u and q: mean and mean square over units of the state that x ← tanh(W x) settles at."""

    u: Array
    q: Array


def fixed_point(J0: ArrayLike, J: ArrayLike) -> FixedPoint:
    """The stable solution with u ≥ 0 of u = E tanh(|J0| u + J √q z), q = E tanh²(|J0| u + J √q z), z standard normal.

    Exact for infinitely many units. For J0 < 0 the mean alternates between u and −u. There are up to three solutions:
    (0, 0), stable where |J0| < 1 and J < 1; (0, q), q > 0, for J > 1; and one of u > 0 with its mirror image, where
    |J0| E tanh'(J √q z) > 1 at the one without a mean, which then is unstable: a mean, however small, grows.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the equations of the phase diagram.
    Raises ValueError if a J is not positive, or a J0 not finite.
    """
    strength, J = _checked(J0, J)
    none = np.zeros_like(J)
    q, spread = none.copy(), J > 1
    q[spread] = _settle(none[spread], J[spread], none[spread], none[spread] + 1).q
    x, weights = gaussian_nodes(0.0, J * np.sqrt(q))
    magnetic = strength * (weights * TANH.derivative(x)).sum(-1) > 1 + ACCURACY
    u, above = none.copy(), none[magnetic] + 1
    u[magnetic], q[magnetic] = _settle(strength[magnetic], J[magnetic], above, above)
    return FixedPoint(u, q)


def chi(J0: ArrayLike, J: ArrayLike) -> Array:
    """χ = J² E tanh'(|J0| u + J √q z)² at the fixed point, of the shape of J0 and J broadcast.

    The factor per iteration on the squared distance of two close states, if their means agree: above 1 chaos, below 1
    order, ½ log χ the Lyapunov exponent. A distance of the means decays by itself wherever (u, q) is stable, so that
    the edge is χ = 1 in all directions. Source: arXiv:2107.09437, J² ∫Dz sech⁴ = 1; exact for infinitely many units.
    Raises ValueError as `fixed_point`.
    """
    u, q = fixed_point(J0, J)
    strength, J = _checked(J0, J)
    x, weights = gaussian_nodes(strength * u, J * np.sqrt(q))
    return J**2 * (weights * TANH.derivative(x) ** 2).sum(-1)


def boundary(ratios: ArrayLike) -> Array:
    """1/J of the edge of chaos for each J0/J: chaos below, order above; of the shape of `ratios`.

    1 as long as |J0| ≤ J. Beyond, a mean forms before chaos does and saturates the units, so that the edge bends down:
    there it is the root of χ(ratio J, J) = 1. Where even J = `WIDEST` is ordered it is 0.
    Source: arXiv:2107.09437, the boundary of the phase diagram. Raises ValueError if a ratio is not finite.
    """
    ratios = np.asarray(ratios, np.float64)
    if not np.isfinite(ratios).all():
        raise ValueError(f"ratios = {ratios.tolist()}: must be finite")
    edges, bent = np.ones(ratios.shape), np.abs(ratios) > 1
    edges[bent] = _bent_edge(np.abs(ratios[bent]))
    return edges


def _bent_edge(ratios: Array) -> Array:
    """By bisection in log J, for all ratios at once."""
    ordered, chaotic = np.zeros(ratios.shape), np.full(ratios.shape, np.log(WIDEST))
    without_chaos = chi(ratios * WIDEST, WIDEST) < 1
    for _ in range(HALVINGS):
        middle = (ordered + chaotic) / 2
        above = chi(ratios * np.exp(middle), np.exp(middle)) > 1
        ordered, chaotic = np.where(above, ordered, middle), np.where(above, middle, chaotic)
    return np.where(without_chaos, 0.0, np.exp(-chaotic))


def distance_without_mean(J: ArrayLike) -> Array:
    """√(2 q): what remains per unit, as a root mean square, between two states at |J0| ≪ J.

    For J > 1 and without a mean they become independent, however close they began; for J ≤ 1 both are 0.
    Raises ValueError if a J is not positive.
    """
    return np.sqrt(2 * fixed_point(0.0, J).q)


def _settle(strength: Array, J: Array, u: Array, q: Array) -> FixedPoint:
    """The fixed point that Newton's method reaches from above, as iteration itself would.

    A step at most halves u and q, so that none jumps over the first root to (0, 0).
    """
    shape = u.shape
    strength, J, u, q = (values.flatten() for values in (strength, J, u, q))
    active = np.arange(u.size)
    for _ in range(STEPS):
        if not active.size:
            break
        old = u[active], q[active]
        u[active], q[active] = _newton(strength[active], J[active], *old)
        moved = np.maximum(np.abs(u[active] - old[0]), np.abs(q[active] - old[1]))
        active = active[moved > ACCURACY]
    return FixedPoint(u.reshape(shape), q.reshape(shape))


def _newton(strength: Array, J: Array, u: Array, q: Array) -> tuple[Array, Array]:
    """One step on (E tanh − u, E tanh² − q), whose derivative by the variance is half the mean of the second one."""
    x, weights = gaussian_nodes(strength * u, J * np.sqrt(q))
    t, slope = np.tanh(x), TANH.derivative(x)
    first, second = (weights * t).sum(-1), (weights * t**2).sum(-1)
    uu = strength * (weights * slope).sum(-1) - 1
    uq = J**2 * (weights * -t * slope).sum(-1)
    qu = strength * (weights * 2 * t * slope).sum(-1)
    qq = J**2 * (weights * slope * (slope - 2 * t**2)).sum(-1) - 1
    determinant = uu * qq - uq * qu
    determinant = np.where(determinant == 0, np.inf, determinant)
    step_u = (uq * (second - q) - qq * (first - u)) / determinant
    step_q = (qu * (first - u) - uu * (second - q)) / determinant
    return np.clip(u + step_u, u / 2, 1), np.clip(q + step_q, q / 2, 1)


def _checked(J0: ArrayLike, J: ArrayLike) -> tuple[Array, Array]:
    """|J0| and J, broadcast."""
    J0, J = np.broadcast_arrays(np.asarray(J0, np.float64), np.asarray(J, np.float64))
    if not (np.isfinite(J) & (J > 0)).all():
        raise ValueError(f"J = {J[~(np.isfinite(J) & (J > 0))].flat[0]:g}: must be a number above 0")
    if not np.isfinite(J0).all():
        raise ValueError(f"J0 = {J0[~np.isfinite(J0)].flat[0]:g}: must be finite")
    return np.abs(J0), J
