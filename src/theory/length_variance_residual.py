"""Spread of the activation length over random residual nets, which stays bounded if the sum of scales eta_l does."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from start_training.theory.activation import RELU, Array, Homogeneous
from start_training.theory.beta import checked_widths
from start_training.theory.mean_length import checked_law


def log_moment_ratio_residual_linear(
    scales: Sequence[float],
    width: int,
    module_widths: Sequence[int] = (),
    kappas: ArrayLike = 2.0,
    *,
    activation: Homogeneous = RELU,
) -> Array:
    """Compute log(E[M_l²] / E[M_l]²) exactly for modules l = 1 … L whose last layer is linear.

    M_l = ‖act_l‖² / n is the length after module l, and E the mean over random residual nets. Weights are Gaussian and
    biases zero. Given all layers before, the outputs of a module of K layers are independent N(0, s²) with s² = Q
    M_{l−1}, E[Q] = kappa_K Π_{i<K} kappa_i E[φ²] and E[Q²] / E[Q]² = Π_{i<K} (1 + (3 c − 1) / n_i) over the module's
    hidden layers, where c is `activation.peakedness` (3 c − 1 = 5 for ReLU). Therefore
        E[M_l²] = E[M_{l−1}²] (1 + 2 eta² E[Q] + eta⁴ E[Q²] + (4 eta² E[Q] + 2 eta⁴ E[Q²]) / n).
    Source: derived.

    Args:
        scales: eta of each module, shape (L,).
        width: n, units at either end of a module.
        module_widths: n_i, units of a module's hidden layers.
        kappas: kappa of each layer of a module, shape (hidden layers + 1,), or one number for all layers.
        activation: φ of a module's hidden layers.

    Returns:
        Shape (L,), in nats.

    Raises:
        ValueError: a width or a kappa is not positive.

    Example:
        >>> log_moment_ratio_residual_linear([0.5, 0.5], 100).round(4)
        array([0.011 , 0.0221])
    """
    gain, moment_ratio = _module_moments(module_widths, kappas, activation)
    ratios = []
    for eta in scales:
        push, square = eta**2 * gain, eta**4 * gain**2 * moment_ratio
        second = 1 + 2 * push + square + (4 * push + 2 * square) / width
        ratios.append(math.log(second) - 2 * math.log1p(push))
    return np.cumsum(ratios)


def log_moment_ratio_residual(
    scales: Sequence[float],
    width: int,
    module_widths: Sequence[int] = (),
    kappas: ArrayLike = 2.0,
    *,
    activation: Homogeneous = RELU,
    ending: Homogeneous = RELU,
) -> Array:
    """Compute log(E[M_l²] / E[M_l]²) for modules l = 1 … L to first order in the reciprocal widths.

    M_l = ‖act_l‖² / n is the length after module l, and E the mean over random residual nets. Weights are Gaussian and
    biases zero. Given its input, a module (a residual block) adds eta φ(s g_i) to unit i, with g_i standard normal and
    s² = Q M, where Q is the random factor by which the module's hidden layers change the length. Therefore the length M
    and the mean activation m form a Markov chain. A module changes their covariance C over nets, relative
    to the *wide limit*, to J C Jᵀ + noise / n, where J is the Jacobian of the recursion in `log_mean_length_residual`
    and the noise follows from the moments of φ(g) and Q.
    The returned value is the relative variance C_MM rather than log(1 + C_MM), which is the same to first order, since
    C_MM is Var log M, which adds up over modules.
    Every net has a different input, uniform on a sphere, so that m of the input has mean 0 and variance M_0 / n.
    Source: derived; the value is bounded if Σ eta_l is, by Hanin & Rolnick 2018 (arXiv:1803.01719), theorem 6.

    Args:
        scales: eta of each module, shape (L,).
        width: n, units at either end of a module.
        module_widths: Units of a module's hidden layers.
        kappas: kappa of each layer of a module, shape (hidden layers + 1,), or one number for all layers.
        activation: φ of a module's hidden layers.
        ending: φ of a module's last layer.

    Returns:
        Shape (L,), in nats.

    Raises:
        ValueError: a width or a kappa is not positive.

    Example:
        >>> log_moment_ratio_residual([0.5, 0.5], 100).round(4)
        array([0.0084, 0.0196])
    """
    moments = _module_moments(module_widths, kappas, activation)
    skew, covariance, ratios = 0.0, np.diag([0.0, 1 / width]), []  # covariance of δM / M and δm / √M
    for eta in scales:
        jacobian, noise, growth, skew = _linearized(eta, skew, width, *moments, phi=ending)
        units = np.array([growth, math.sqrt(growth)])
        covariance = (jacobian @ covariance @ jacobian.T + noise) / np.outer(units, units)
        ratios.append(covariance[0, 0])
    return np.array(ratios)


def _module_moments(module_widths: Sequence[int], kappas: ArrayLike, activation: Homogeneous) -> tuple[float, float]:
    """Compute E[s²] / M and E[s⁴] / E[s²]² for the variance s² of a module's last pre-activations given its input."""
    kappas, _ = checked_law(np.broadcast_to(kappas, (len(module_widths) + 1,)), 0.0)
    gain = float(np.prod(kappas)) * activation.second ** len(module_widths)
    if not len(module_widths):
        return gain, 1.0
    return gain, float(np.prod(1 + (3 * activation.peakedness - 1) / checked_widths(module_widths)))


def _linearized(
    eta: float, skew: float, n: int, gain: float, moment_ratio: float, *, phi: Homogeneous
) -> tuple[Array, Array, float, float]:
    """Linearize a module's map (M, m) → (M', m') at M = 1; return its Jacobian and noise, M', and m' / √M'."""
    s, mu = math.sqrt(gain), phi.mean
    spread = phi.second - mu**2  # Var φ(g)
    skewness = phi.third - mu * phi.second  # Cov(φ(g), φ(g)²)
    peak = 3 * phi.fourth - phi.second**2  # Var φ(g)²
    growth = 1 + 2 * eta * skew * mu * s + eta**2 * phi.second * s**2
    by_square = np.array([eta * skew * mu / s + eta**2 * phi.second, eta * mu / (2 * s)])  # d(M', m') / d(s²)
    jacobian = np.array([[1.0, 2 * eta * mu * s], [0.0, 1.0]])
    jacobian[:, 0] += by_square * s**2  # s² grows with M
    along = 4 * eta**2 * s**2 * spread + 4 * eta**3 * skew * s**3 * skewness + eta**4 * s**4 * peak
    across = 2 * eta**2 * skew * s**2 * spread + eta**3 * s**3 * skewness
    noise = np.array([[along, across], [across, eta**2 * s**2 * spread]]) / n
    noise += np.outer(by_square, by_square) * s**4 * (moment_ratio - 1)
    return jacobian, noise, growth, (skew + eta * mu * s) / math.sqrt(growth)
