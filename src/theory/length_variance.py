"""Spread of the activation length over random fully connected nets (failure mode 2).

All functions return log(E[M_j²] / E[M_j]²) of layers j, which does not overflow in deep nets. Its `expm1` is the
relative variance Var M_j / E[M_j]². For ReLU nets with Gaussian weights the log is near 5 beta.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from start_training.theory.activation import RELU, Array, Homogeneous
from start_training.theory.beta import checked_widths
from start_training.theory.mean_length import checked_law, log_mean_length


def log_moment_ratio(
    widths: ArrayLike,
    kappas: ArrayLike = 2.0,
    bias_variances: ArrayLike = 0.0,
    *,
    kurtosis: ArrayLike = 3.0,
    bias_kurtosis: ArrayLike = 3.0,
    fourth_moments: ArrayLike | None = None,
    log_input_length: float = 0.0,
    activation: Homogeneous = RELU,
) -> Array:
    """Compute log(E[M_j²] / E[M_j]²) for layers j = 1 … d of a fully connected net and one input.

    M_j = ‖act_j‖² / n_j is the length of layer j, and E the mean over random nets. Weights must be independent and
    symmetric. In a ReLU net without biases, given a layer's input x,
        E[M_j² | x] = (kappa_j/2)² M_{j−1}² (1 + (5 + 2 (kurtosis − 3) Σ_i x_i⁴ / ‖x‖⁴) / n_j),
    so that for Gaussian weights E[M_j²] / E[M_j]² = Π_{i≤j} (1 + 5/n_i) ≈ exp(5 beta). For other weights the ratio
    depends on f = E[Σ_i x_i⁴] / E[‖x‖⁴] of each layer's input, which can be measured (src/lengths/fourth_moment.py) or
    bounded (`log_moment_ratio_bounds`). For another homogeneous φ, with c its `peakedness`, the number
    5 + 2 (kurtosis − 3) f becomes 3 c + (kurtosis − 3) c f − 1. With biases of variance v, z = W x + b has
    E[z² | x] = kappa M + v and a fourth cumulant that is the sum of those of W x and b.
    Source: derived from Hanin & Rolnick 2018 (arXiv:1803.01719), proof of theorem 5; kurtosis: the fourth cumulants of
    independent W_i x_i add, so that E[(Σ_i W_i x_i)⁴] = (3 + (kurtosis − 3) Σ_i x_i⁴ / ‖x‖⁴) (Var W)² ‖x‖⁴.

    Args:
        widths: Width n_j of each layer, shape (d,).
        kappas: fan_in · Var W of each layer, shape (d,), or one number for all layers.
        bias_variances: Variance v of the biases of each layer, shape (d,) or a number.
        kurtosis: E[W⁴] / E[W²]² of each layer's weights, shape (d,) or a number; 3 for normal weights.
        bias_kurtosis: Kurtosis of each layer's biases, shape (d,) or a number.
        fourth_moments: f of each layer's input, shape (d,); not needed for Gaussian weights.
        log_input_length: log M_0, the log length of the input; only matters with biases.
        activation: φ of every layer.

    Returns:
        Shape (d,), in nats.

    Raises:
        ValueError: a width or kappa is not positive, or weights are not Gaussian and fourth_moments is not given.

    Example:
        >>> np.exp(log_moment_ratio([50] * 50)[[0, -1]]).round(2)  # 1 + 5/n, and about exp(5 beta)
        array([  1.1 , 117.39])
    """
    widths = checked_widths(widths)
    kappas, biases = checked_law(np.broadcast_to(kappas, widths.shape), bias_variances)
    excess = np.broadcast_to(np.asarray(kurtosis, dtype=np.float64) - 3, widths.shape)
    bias_excess = np.broadcast_to(np.asarray(bias_kurtosis, dtype=np.float64) - 3, widths.shape)
    if fourth_moments is None and excess.any():
        raise ValueError(f"kurtosis = {kurtosis!r}: must be 3 (Gaussian weights) if fourth_moments is not given")
    moments = 0.0 if fourth_moments is None else fourth_moments
    cumulants = excess * np.broadcast_to(moments, widths.shape)  # fourth cumulant of W x divided by (kappa M)²
    means = log_mean_length(kappas, biases, log_input_length=log_input_length, activation=activation)
    from_input = _share_of_input(kappas, np.concatenate([[log_input_length], means[:-1]]), biases)
    return _recursion(widths, from_input, cumulants, bias_excess, activation)


def log_moment_ratio_bounds(
    widths: ArrayLike,
    fan_ins: ArrayLike,
    kappas: ArrayLike = 2.0,
    bias_variances: ArrayLike = 0.0,
    *,
    kurtosis: ArrayLike = 3.0,
    bias_kurtosis: ArrayLike = 3.0,
    log_input_length: float = 0.0,
    activation: Homogeneous = RELU,
) -> tuple[Array, Array]:
    """Compute the least and the greatest `log_moment_ratio` that is possible for a given kurtosis of the weights.

    The two are equal for Gaussian weights. For other weights they follow from Σ x_i⁴ / ‖x‖⁴, which lies between
    1/fan_in (all entries of x equal) and 1 (a single nonzero entry).
    Source: see `log_moment_ratio`.

    Args:
        widths: Width of each layer, shape (d,).
        fan_ins: Number of inputs of each layer's units, shape (d,).
        kappas: See `log_moment_ratio`.
        bias_variances: See `log_moment_ratio`.
        kurtosis: See `log_moment_ratio`.
        bias_kurtosis: See `log_moment_ratio`.
        log_input_length: See `log_moment_ratio`.
        activation: φ of every layer.

    Returns:
        Lower and upper bound, each of shape (d,), in nats.

    Example:
        >>> lower, upper = log_moment_ratio_bounds([50], [50], kurtosis=1.8)
        >>> lower.round(3), upper.round(3)
        (array([0.051]), array([0.094]))
    """
    fan_ins = np.asarray(fan_ins, dtype=np.float64)
    kurtosis = np.broadcast_to(np.asarray(kurtosis, dtype=np.float64), np.shape(widths))
    most = np.where(kurtosis > 3, 1.0, 1 / fan_ins)
    least = np.where(kurtosis > 3, 1 / fan_ins, 1.0)
    lower, upper = (
        log_moment_ratio(
            widths,
            kappas,
            bias_variances,
            kurtosis=kurtosis,
            bias_kurtosis=bias_kurtosis,
            fourth_moments=moments,
            log_input_length=log_input_length,
            activation=activation,
        )
        for moments in (least, most)
    )
    return lower, upper


def log_moment_ratio_orthogonal(widths: ArrayLike, fan_ins: ArrayLike, *, activation: Homogeneous = RELU) -> Array:
    """Compute log(E[M_j²] / E[M_j]²) for layers j = 1 … d with Haar-random semi-orthogonal weights and no biases.

    M_j = ‖act_j‖² / n_j is the length of layer j of a fully connected net, and E the mean over random nets.

    W x is proportional to n of the N = max(n, fan_in) coordinates of a random unit vector, for which
    E[u⁴] = 3 / (N (N + 2)) and E[u² v²] = 1 / (N (N + 2)) for two coordinates u and v. A ReLU layer therefore
    multiplies the ratio by N (n + 5) / (n (N + 2)), which is 1 + 3 / (n + 2) for a square layer.
    Source: derived from the moments of the uniform distribution on the sphere.

    Args:
        widths: Width n of each layer, shape (d,).
        fan_ins: Number of inputs of each layer's units, shape (d,).
        activation: φ of every layer.

    Returns:
        Shape (d,), in nats.

    Raises:
        ValueError: a width is not positive.

    Example:
        >>> np.exp(log_moment_ratio_orthogonal([98], [98])).round(3)  # 1 + 3/(n + 2)
        array([1.03])
    """
    n = checked_widths(widths)
    longer = np.maximum(n, np.asarray(fan_ins, dtype=np.float64))
    return np.cumsum(np.log(longer * (n - 1 + 3 * activation.peakedness) / (n * (longer + 2))))


def _share_of_input(kappas: Array, log_inputs: Array, biases: Array) -> Array:
    """Compute kappa M / (kappa M + v) of each layer, the share of E[z²] that is due to W x rather than the biases."""
    with np.errstate(divide="ignore"):
        log_biases = np.log(biases)
    log_weights = np.log(kappas) + log_inputs
    total = np.logaddexp(log_weights, log_biases)
    return np.where(total > -math.inf, np.exp(log_weights - np.where(total > -math.inf, total, 0.0)), 1.0)


def _recursion(widths: Array, shares: Array, cumulants: Array, bias_excess: Array, activation: Homogeneous) -> Array:
    peak, log_ratio, ratios = activation.peakedness, 0.0, []
    for n, share, cumulant, of_bias in zip(widths, shares, cumulants, bias_excess, strict=True):
        # log_squares is the log of E[E[z² | x]²] / E[z²]²; fourth the mean fourth cumulant of z / E[E[z² | x]²].
        squares, rest = 2 * math.log(share) + log_ratio if share > 0 else -math.inf, 1 - share**2
        log_squares = float(np.logaddexp(squares, math.log(rest) if rest > 0 else -math.inf))
        fourth = cumulant * math.exp(squares - log_squares) + of_bias * (1 - share) ** 2 * math.exp(-log_squares)
        log_ratio = log_squares + math.log1p((peak * (3 + fourth) - 1) / n)
        ratios.append(log_ratio)
    return np.array(ratios)
