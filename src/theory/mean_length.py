"""Mean activation length per layer: failure mode 1."""

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
    """log E[M_j] of a fully connected net, for layers j = 1 … d.

    E[M_j] = (kappa_j E[M_{j−1}] + v_j) / 2 for a ReLU net, any symmetric weight law of variance kappa_j / fan_in and
    any symmetric bias law of variance v_j; the factor 1/2 is E[φ(z)²] / E[z²] for another homogeneous activation φ.
    Computed in the log domain, so that no depth overflows.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), theorem 5 and its proof.

    Args:
        kappas: fan_in · Var W of each layer, shape (d,).
        bias_variances: v of each layer, shape (d,) or a number for all.
        log_input_length: log M_0.
        activation: φ of every layer.

    Returns:
        Shape (d,), in nats.

    Raises:
        ValueError: a kappa is not positive, or a bias variance is negative.

    Example:
        >>> log_mean_length([2.0, 1.0, 1.0]).round(3)  # He's variance, then half of it twice
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
    """log E[M_l] of a residual net's outputs act_l = act_{l−1} + eta_l N_l(act_{l−1}), for modules l = 1 … L.

    N_l is a fully connected net of K layers. With q_0 = 1, z_k = kappa_k q_{k−1} + v_k / M and q_k = E[φ_k²] z_k inside
    a module, and m the mean activation (0 for the input),
        M ← M (1 + eta² q_K + 2 eta (m / √M) E[φ_K] √z_K),   m ← m + eta E[φ_K] √(z_K M),
    with the values of the module before on the right. Exact where modules end in a linear layer, E[φ_K] = 0; else the
    *wide limit*. At width 5 and scales 0.9^l, critical nets of 24 single-layer modules are 1.2 times as long as this
    limit, those whose modules have a hidden layer of that width 0.6 times.
    For critical single-layer ReLU modules: M ← M (1 + eta²) + 2 eta m √(M/π).
    Source: derived; growth of order exp(Σ eta_l) is arXiv:1803.01719, theorem 6.

    Args:
        scales: eta of each module, shape (L,).
        kappas: kappa of each layer of a module, shape (K,).
        bias_variances: v of each layer of a module, shape (K,) or a number for all.
        log_input_length: log M_0.
        activation: φ of the layers 1 … K − 1 of a module.
        ending: φ_K, of the last layer of a module.

    Returns:
        Shape (L,), in nats; −inf where the length is 0.

    Raises:
        ValueError: a kappa is not positive, or a bias variance is negative.

    Example:
        >>> log_mean_length_residual([1.0], [2.0]).round(3)  # twice the input's length
        array([0.693])
    """
    kappas, biases = checked_law(kappas, bias_variances)
    factors = [activation.second] * (len(kappas) - 1) + [ending.second]
    floor = log_or_minus_infinity(biases.max(initial=0))
    lengths = np.full(len(scales), -math.inf)
    length, skew = log_input_length, 0.0  # skew: m / √M
    for layer, eta in enumerate(scales):
        unit = max(length, floor)  # lengths are taken in units of e^unit, in which nothing overflows
        if unit == -math.inf:  # the input is 0, and so are all biases
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
    """E[z²] of a module's last pre-activation and E[φ(z)²], from each layer's (kappa, v, E[φ²])."""
    z = length
    for kappa, bias, factor in layers:
        z = kappa * length + bias
        length = factor * z
    return z, length


def checked_law(kappas: ArrayLike, bias_variances: ArrayLike) -> tuple[Array, Array]:
    """Both as float64 of shape (d,), that of kappas.

    Raises:
        ValueError: a kappa is not positive, or a bias variance is negative.
    """
    kappas = np.atleast_1d(np.asarray(kappas, dtype=np.float64))
    biases = np.broadcast_to(np.asarray(bias_variances, dtype=np.float64), kappas.shape)
    if not (kappas > 0).all():
        raise ValueError(f"kappas = {kappas.tolist()}: a weight variance must be positive")
    if not (biases >= 0).all():
        raise ValueError(f"bias_variances = {biases.tolist()}: a variance must not be negative")
    return kappas, biases


def kappas_after_dropout(kappas: Array, dropout: float) -> Array:
    """kappa of layers 1 … d where dropout follows each activation: x² is scaled up by 1 / (1 − dropout) on average.

    Args:
        kappas: Without dropout, shape (d,).
        dropout: Probability of dropping a unit; the input is not dropped.

    Example:
        >>> kappas_after_dropout(np.array([2.0, 2.0]), 0.5)
        array([2., 4.])
    """
    return kappas / np.where(np.arange(len(kappas)) > 0, 1 - dropout, 1.0)


def log_or_minus_infinity(value: float) -> float:
    """log(value), −inf for 0."""
    return math.log(value) if value > 0 else -math.inf
