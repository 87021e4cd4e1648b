"""Mean activation length of each layer over random nets, whose growth or decay with depth is failure mode 1."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from start_training.theory.activation import RELU, Array, Homogeneous


def log_mean_length(
    kappas: ArrayLike,
    bias_variances: ArrayLike = 0.0,
    *,
    log_input_length: float = 0.0,
    activation: Homogeneous = RELU,
) -> Array:
    """Compute log E[M_j], the log mean length of layers j = 1 … d, of a fully connected net.

    The length of layer j is M_j = ‖act_j‖² / n_j. In a ReLU net E[M_j] = (kappa_j E[M_{j−1}] + v_j) / 2, for any
    symmetric weight distribution of variance kappa_j / fan_in and any symmetric bias distribution of variance v_j. For
    another homogeneous activation φ the factor 1/2 becomes E[φ(z)²] / E[z²]. Lengths are kept as logs, so that deep
    nets do not overflow.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), theorem 5 and its proof.

    Args:
        kappas: fan_in · Var W of each layer, shape (d,).
        bias_variances: Variance v of the biases of each layer, shape (d,), or one number for all layers.
        log_input_length: log M_0, the log length of the input.
        activation: φ of every layer.

    Returns:
        Shape (d,), in nats.

    Raises:
        ValueError: a kappa is not positive, or a bias variance is negative.

    Example:
        >>> log_mean_length([2.0, 1.0, 1.0]).round(3)  # kappa = 2 preserves E[M], kappa = 1 halves it
        array([ 0.   , -0.693, -1.386])
    """
    kappas, biases = checked_law(kappas, bias_variances)
    lengths = np.empty_like(kappas)
    length = log_input_length
    for layer, (kappa, bias) in enumerate(zip(kappas, biases, strict=True)):
        length = np.logaddexp(math.log(kappa) + length, log_or_minus_infinity(bias)) + math.log(activation.second)
        lengths[layer] = length
    return lengths


def log_mean_length_residual(
    scales: Sequence[float],
    kappas: ArrayLike,
    bias_variances: ArrayLike = 0.0,
    *,
    log_input_length: float = 0.0,
    activation: Homogeneous = RELU,
    ending: Homogeneous = RELU,
) -> Array:
    """Compute log E[M_l], the log mean length after modules l = 1 … L, of a fully connected residual net.

    M_l is the mean square of act_l = act_{l−1} + eta_l N_l(act_{l−1}), with N_l a fully connected net of K layers.
    Inside a module let q_0 = 1, z_k = kappa_k q_{k−1} + v_k / M and q_k = E[φ_k²] z_k, and let m be the mean activation
    (0 for the input). The module changes M and m to
        M (1 + eta² q_K + 2 eta (m / √M) E[φ_K] √z_K)   and   m + eta E[φ_K] √(z_K M),
    for critical modules of one ReLU layer M (1 + eta²) + 2 eta m √(M/π) and m + eta √(M/π). The result is exact if the
    last layer of each module is linear (E[φ_K] = 0), and otherwise the *wide limit*. At width 5 and scales 0.9^l, E[M]
    of 24 critical modules is 1.2 times this limit if modules have one layer, and 0.6 times if they have a hidden layer.
    Source: derived; growth of order exp(Σ eta_l) is arXiv:1803.01719, theorem 6.

    Args:
        scales: eta of each module, shape (L,).
        kappas: fan_in · Var W of each layer of a module, shape (K,).
        bias_variances: Variance v of the biases of each layer of a module, shape (K,), or one number for all layers.
        log_input_length: log M_0, the log length of the input.
        activation: φ of the layers 1 … K − 1 of a module.
        ending: φ_K, of the last layer of a module.

    Returns:
        Shape (L,), in nats; −inf where the length is 0.

    Raises:
        ValueError: a kappa is not positive, or a bias variance is negative.

    Example:
        >>> log_mean_length_residual([1.0], [2.0]).round(3)  # E[M_1] = 2 M_0
        array([0.693])
    """
    kappas, biases = checked_law(kappas, bias_variances)
    factors = [activation.second] * (len(kappas) - 1) + [ending.second]
    floor = log_or_minus_infinity(biases.max(initial=0))
    lengths = np.full(len(scales), -math.inf)
    length, skew = log_input_length, 0.0  # skew: m / √M
    for layer, eta in enumerate(scales):
        unit = max(length, floor)  # in units of e^unit no length overflows
        if unit == -math.inf:  # the input and all biases are 0
            break
        old = math.exp(length - unit)
        shares = [math.exp(log_or_minus_infinity(bias) - unit) for bias in biases]
        z, q = _through_module(old, zip(kappas, shares, factors, strict=True))
        mean, push = skew * math.sqrt(old), eta * ending.mean * math.sqrt(z)
        new = old + eta**2 * q + 2 * mean * push
        skew = (mean + push) / math.sqrt(new)
        lengths[layer] = length = unit + math.log(new)
    return lengths


def _through_module(length: float, layers: Iterable[tuple[float, float, float]]) -> tuple[float, float]:
    """Compute E[z²] and E[φ(z)²] for a module's last pre-activations z.

    Args:
        length: M of the module's input.
        layers: kappa, bias variance and E[φ(z)²] / E[z²] of each layer.
    """
    z = length
    for kappa, bias, factor in layers:
        z = kappa * length + bias
        length = factor * z
    return z, length


def checked_law(kappas: ArrayLike, bias_variances: ArrayLike) -> tuple[Array, Array]:
    """Convert kappas and bias variances to float64 arrays of the same shape (d,) and check them.

    Raises:
        ValueError: a kappa is not positive, or a bias variance is negative.
    """
    kappas = np.atleast_1d(np.asarray(kappas, dtype=np.float64))
    biases = np.broadcast_to(np.asarray(bias_variances, dtype=np.float64), kappas.shape)
    if not (kappas > 0).all():
        raise ValueError(f"kappas = {kappas.tolist()}: all kappas must be positive")
    if not (biases >= 0).all():
        raise ValueError(f"bias_variances = {biases.tolist()}: all variances must be at least 0")
    return kappas, biases


def kappas_after_dropout(kappas: Array, dropout: float) -> Array:
    """Multiply kappa of layers 2 … d by 1 / (1 − dropout), the effect of dropout after each activation.

    Dropout multiplies the mean square of a layer's input by 1 / (1 − dropout). The first layer's kappa stays, because
    the net's input is not dropped.

    Args:
        kappas: fan_in · Var W of each layer, shape (d,).
        dropout: Probability of dropping a unit.

    Example:
        >>> kappas_after_dropout(np.array([2.0, 2.0]), 0.5)
        array([2., 4.])
    """
    return kappas / np.where(np.arange(len(kappas)) > 0, 1 - dropout, 1.0)


def log_or_minus_infinity(value: float) -> float:
    """Return log(value), or −inf if value is 0."""
    return math.log(value) if value > 0 else -math.inf
