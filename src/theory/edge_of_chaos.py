"""Where a random layer's map x ← φ(W x) turns from order to chaos, for W_ij normal of mean J0/N and variance J²/N."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from start_training.theory.activation import TANH, Array
from start_training.theory.gaussian import gaussian_nodes

STEPS = 200  # of Newton's method, which halves the error at a double root and doubles the digits at any other
ACCURACY = 1e-12
WIDEST = 1e4  # greatest J at which a boundary is looked for
HALVINGS = 32  # of the range of log J, to 2e-9 of J


class FixedPoint(NamedTuple):
    """Mean u and mean square q, over units, of the state that x ← tanh(W x) converges to."""

    u: Array
    q: Array


def fixed_point(J0: ArrayLike, J: ArrayLike) -> FixedPoint:
    """The stable solution with u ≥ 0 of u = E tanh(|J0| u + J √q z), q = E tanh²(|J0| u + J √q z), z standard normal.

    Exact for infinitely many units. For J0 < 0 the mean alternates between u and −u. There are up to three solutions:
    (0, 0), stable where |J0| < 1 and J < 1; (0, q), q > 0, for J > 1; and one of u > 0 with its mirror image, where
    |J0| E tanh'(J √q z) > 1 at the solution with u = 0, which then is unstable: any small mean grows.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the equations of the phase diagram.

    Args:
        J0: Mean of the weights times N, any shape.
        J: Standard deviation of the weights times √N, of a shape that broadcasts with that of J0.

    Returns:
        u and q, of the shape of J0 and J broadcast.

    Raises:
        ValueError: a J is not positive, or a J0 is not finite.

    Example:
        >>> u, q = fixed_point(0.0, [0.5, 2.0])
        >>> u, q.round(3)
        (array([0., 0.]), array([0.  , 0.53]))
    """
    strength, J = _checked(J0, J)
    u, q, spread = np.zeros_like(J), np.zeros_like(J), J > 1
    start = u[spread]
    q[spread] = _settle(start, J[spread], start, start + 1).q
    x, weights = gaussian_nodes(0.0, J * np.sqrt(q))
    magnetic = strength * (weights * TANH.derivative(x)).sum(-1) > 1 + ACCURACY
    start = np.ones_like(u[magnetic])
    u[magnetic], q[magnetic] = _settle(strength[magnetic], J[magnetic], start, start)
    return FixedPoint(u, q)


def chi(J0: ArrayLike, J: ArrayLike) -> Array:
    """χ = J² E tanh'(|J0| u + J √q z)² at the fixed point.

    The factor per iteration on the squared distance of two close states whose means agree: chaos above 1, order below
    1; ½ log χ is the Lyapunov exponent. A difference of the means decays wherever (u, q) is stable, so that the edge is
    χ = 1 in all directions. Exact for infinitely many units.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), J² ∫Dz sech⁴ = 1.

    Args:
        J0: Mean of the weights times N, any shape.
        J: Standard deviation of the weights times √N, of a shape that broadcasts with that of J0.

    Returns:
        Of the shape of J0 and J broadcast.

    Raises:
        ValueError: a J is not positive, or a J0 is not finite.

    Example:
        >>> chi(0.0, [0.5, 2.0]).round(3)
        array([0.25 , 1.363])
    """
    u, q = fixed_point(J0, J)
    strength, J = _checked(J0, J)
    x, weights = gaussian_nodes(strength * u, J * np.sqrt(q))
    return J**2 * (weights * TANH.derivative(x) ** 2).sum(-1)


def boundary(ratios: ArrayLike) -> Array:
    """1/J of the edge of chaos for each J0/J: chaos below, order above.

    It is 1 for |J0| ≤ J. For a greater |J0| a mean forms at a smaller J than chaos and saturates the units, so that the
    edge bends down: there it is the root of χ(ratio J, J) = 1, and 0 where even J = `WIDEST` is ordered.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the boundary of the phase diagram.

    Args:
        ratios: J0/J, any shape.

    Returns:
        Of the shape of ratios.

    Raises:
        ValueError: a ratio is not finite.

    Example:
        >>> boundary([0.5, 1.2]).round(3)
        array([1.   , 0.523])
    """
    ratios = checked_ratios(ratios)
    edges, bent = np.ones(ratios.shape), np.abs(ratios) > 1
    edges[bent] = _bent_edge(np.abs(ratios[bent]))
    return edges


def checked_ratios(ratios: ArrayLike) -> Array:
    """Ratios J0/J as float64.

    Raises:
        ValueError: a ratio is not finite.
    """
    ratios = np.asarray(ratios, np.float64)
    if not np.isfinite(ratios).all():
        raise ValueError(f"ratios = {ratios.tolist()}: must be finite")
    return ratios


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
    """√(2 q): the root mean square over units of the final distance of two states, for |J0| ≪ J.

    For J > 1 and without a mean two states become independent, however close they are at first; for J ≤ 1 both become
    0, and so does their distance.

    Args:
        J: Standard deviation of the weights times √N, any shape.

    Returns:
        Of the shape of J.

    Raises:
        ValueError: a J is not positive.
    """
    return np.sqrt(2 * fixed_point(0.0, J).q)


def _settle(strength: Array, J: Array, u: Array, q: Array) -> FixedPoint:
    """The fixed point that Newton's method reaches from above, the same that iterating the map reaches.

    A step at most halves u and q, so that no step jumps over the first root to (0, 0).
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
