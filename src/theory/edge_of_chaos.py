"""Order and chaos of the iterated random layer x ← tanh(W x), with W_ij normal of mean J0/N and variance J²/N."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from start_training.theory.activation import TANH, Array
from start_training.theory.gaussian import gaussian_nodes

STEPS = 200  # greatest number of Newton steps; at a double root each step only halves the error
ACCURACY = 1e-12
WIDEST = 1e4  # greatest J in the search for the boundary
HALVINGS = 32  # bisections of the range of log J, which give J to 2e-9


class FixedPoint(NamedTuple):
    """Mean u and mean square q, over the units, of the state to which x ← tanh(W x) converges."""

    u: Array
    q: Array


def fixed_point(J0: ArrayLike, J: ArrayLike) -> FixedPoint:
    """Compute the mean u ≥ 0 and the mean square q of the state to which x ← tanh(W x) converges.

    (u, q) is the stable solution of u = E tanh(|J0| u + J √q z), q = E tanh²(|J0| u + J √q z), z standard normal, for
    infinitely many units. For J0 < 0 the mean alternates between u and −u. There are up to three solutions: (0, 0),
    stable if |J0| < 1 and J < 1; (0, q) with q > 0 if J > 1; and one with u > 0 if |J0| E tanh'(J √q z) > 1 at the
    solution with u = 0, which is then unstable because any small mean grows.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the equations of the phase diagram.

    Args:
        J0: Mean of the weights times N, any shape.
        J: Standard deviation of the weights times √N, of a shape that broadcasts with that of J0.

    Returns:
        u and q, each of the broadcast shape of J0 and J.

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
    """Compute χ, by which one iteration of x ← tanh(W x) multiplies the squared distance of two close states.

    χ = J² E tanh'(|J0| u + J √q z)² at the fixed point (u, q), for infinitely many units and two states with the same
    mean. The layer is chaotic for χ > 1 and ordered for χ < 1; ½ log χ is the Lyapunov exponent. A difference between
    the means of the states decays wherever (u, q) is stable, so that the edge of chaos is χ = 1.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), J² ∫Dz sech⁴ = 1.

    Args:
        J0: Mean of the weights times N, any shape.
        J: Standard deviation of the weights times √N, of a shape that broadcasts with that of J0.

    Returns:
        χ, of the broadcast shape of J0 and J.

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
    """Compute the value of 1/J at the edge of chaos for each ratio J0/J: chaos for smaller 1/J, order for larger 1/J.

    It is 1 for |J0| ≤ J. For |J0| > J it is the root of χ(ratio J, J) = 1, which is below 1 because a mean forms and
    saturates the units before chaos sets in, or 0 if the layer is ordered even at J = `WIDEST`.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the boundary of the phase diagram.

    Args:
        ratios: J0/J, any shape.

    Returns:
        1/J, of the shape of ratios.

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
    """Convert the ratios J0/J to float64 and check that they are finite.

    Raises:
        ValueError: a ratio is not finite.
    """
    ratios = np.asarray(ratios, np.float64)
    if not np.isfinite(ratios).all():
        raise ValueError(f"ratios = {ratios.tolist()}: all ratios must be finite numbers")
    return ratios


def _bent_edge(ratios: Array) -> Array:
    """Compute `boundary` for ratios above 1 by bisection in log J."""
    ordered, chaotic = np.zeros(ratios.shape), np.full(ratios.shape, np.log(WIDEST))
    without_chaos = chi(ratios * WIDEST, WIDEST) < 1
    for _ in range(HALVINGS):
        middle = (ordered + chaotic) / 2
        above = chi(ratios * np.exp(middle), np.exp(middle)) > 1
        ordered, chaotic = np.where(above, ordered, middle), np.where(above, middle, chaotic)
    return np.where(without_chaos, 0.0, np.exp(-chaotic))


def distance_without_mean(J: ArrayLike) -> Array:
    """Compute the final distance of two states of x ← tanh(W x), √(2 q) as root mean square over units, for |J0| ≪ J.

    For J > 1 the two states become independent with mean 0, however close they start; for J ≤ 1 both converge to 0.

    Args:
        J: Standard deviation of the weights times √N, any shape.

    Returns:
        The distance, of the shape of J.

    Raises:
        ValueError: a J is not positive.
    """
    return np.sqrt(2 * fixed_point(0.0, J).q)


def _settle(strength: Array, J: Array, u: Array, q: Array) -> FixedPoint:
    """Find a fixed point by Newton's method, started at u and q above the root.

    No step reduces u or q by more than half, so that Newton's method does not jump over the root to (0, 0), and
    converges to the same fixed point as iterating the map.
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
    """Do one Newton step for the equations E tanh(x) − u = 0 and E tanh²(x) − q = 0, x ~ N(strength · u, J² q).

    For any f, dE[f(x)] / d(Var x) = E[f″(x)] / 2.
    """
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
    """Check that J0 is finite and J above 0; return |J0|, on which alone results depend, and J, both broadcast."""
    J0, J = np.broadcast_arrays(np.asarray(J0, np.float64), np.asarray(J, np.float64))
    if not (np.isfinite(J) & (J > 0)).all():
        raise ValueError(f"J = {J[~(np.isfinite(J) & (J > 0))].flat[0]:g}: must be a number above 0")
    if not np.isfinite(J0).all():
        raise ValueError(f"J0 = {J0[~np.isfinite(J0)].flat[0]:g}: must be a finite number")
    return np.abs(J0), J
