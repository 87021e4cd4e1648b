"""Mean activation length per layer: failure mode 1."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from start_training.theory.activation import RELU, Homogeneous


def log_mean_length(
    kappas: ArrayLike,
    bias_variances: ArrayLike = 0.0,
    *,
    log_input_length: float = 0.0,
    activation: Homogeneous = RELU,
) -> NDArray[np.float64]:
    """log E[M_j] for layers j = 1 … d of a fully connected net; shape (d,).

    E[M_j] = (kappa_j E[M_{j−1}] + v_j) / 2 for a ReLU net, any symmetric weight law of variance
    kappa_j / fan_in and any symmetric bias law of variance v_j; the factor 1/2 is
    E[φ(z)²] / E[z²] for another homogeneous activation φ. In the log domain, so finite at any depth.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), theorem 5 and its proof.
    Raises ValueError if a kappa is not positive or a bias variance is negative.

    Example:
        >>> log_mean_length([2.0, 1.0, 1.0]).round(3)  # He's variance, then half of it twice
        array([ 0.   , -0.693, -1.386])
    """
    kappas, biases = checked_law(kappas, bias_variances)
    lengths = np.empty_like(kappas)
    length = log_input_length
    for layer, (kappa, bias) in enumerate(zip(kappas, biases, strict=True)):
        length = np.logaddexp(math.log(kappa) + length, _log(bias)) + math.log(activation.second)
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
) -> NDArray[np.float64]:
    """log E[M_l] for the outputs l = 1 … L of a residual net's modules; shape (L,).

    act_l = act_{l−1} + eta_l N_l(act_{l−1}), each N_l a fully connected net whose layers have
    `kappas` and `bias_variances`, of shape (layers of a module,). With q_0 = 1, z_k = kappa_k q_{k−1} + v_k / M
    and q_k = E[φ_k²] z_k inside a module, and m the mean activation (0 for the input),
        M ← M (1 + eta² q + 2 eta (m / √M) E[φ] √z),   m ← m + eta E[φ] √(z M),
    right-hand sides old, z and q those of the last layer. Exact where modules end in a linear
    layer, E[φ] = 0; else the *wide limit*. At width 5 and scales 0.9^l, critical nets of 24 single-layer
    modules are 1.2× as long as it says, those whose modules have a hidden layer of that width 0.6×.
    For critical single-layer ReLU modules: M ← M (1 + eta²) + 2 eta m √(M/π).
    Source: derived; growth of order exp(Σ eta_l) is arXiv:1803.01719, theorem 6.
    Raises ValueError if a kappa is not positive or a bias variance is negative.
    """
    kappas, biases = checked_law(kappas, bias_variances)
    activations = [activation] * (len(kappas) - 1) + [ending]
    floor = _log(biases.max(initial=0))  # lengths are taken in units of e^unit, in which nothing overflows
    lengths = np.empty(len(scales))
    length, skew = log_input_length, 0.0  # skew: m / √M
    for layer, eta in enumerate(scales):
        unit = max(length, floor)
        if unit == -math.inf:  # dead, and no bias to revive it
            lengths[layer:] = -math.inf
            break
        old = q = z = math.exp(length - unit)
        for kappa, bias, phi in zip(kappas, biases, activations, strict=True):
            z = kappa * q + math.exp(_log(bias) - unit)
            q = phi.second * z
        mean, push = skew * math.sqrt(old), eta * ending.mean * math.sqrt(z)
        new = old + eta**2 * q + 2 * mean * push
        skew = (mean + push) / math.sqrt(new)
        length = unit + math.log(new)
        lengths[layer] = length
    return lengths


def checked_law(kappas: ArrayLike, bias_variances: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 of shape (layers,). Raises ValueError if a variance is not possible."""
    kappas = np.atleast_1d(np.asarray(kappas, dtype=np.float64))
    biases = np.broadcast_to(np.asarray(bias_variances, dtype=np.float64), kappas.shape)
    if not (kappas > 0).all():
        raise ValueError(f"kappas = {kappas.tolist()}: a weight variance must be positive")
    if not (biases >= 0).all():
        raise ValueError(f"bias_variances = {biases.tolist()}: a variance must not be negative")
    return kappas, biases


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
