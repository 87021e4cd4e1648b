"""Mean and variance of log M in ReLU nets with Gaussian weights: the length of a typical net, unlike log E[M]."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import polygamma, psi
from scipy.stats import binom

from start_training.theory.activation import Array
from start_training.theory.beta import checked_widths
from start_training.theory.mean_length import checked_law


class LogLength(NamedTuple):
    """Moments of the log length log(M_j / M_0) over random nets for layers j = 1 … d, each of shape (d,).

    Args:
        mean: Mean over the nets that are alive at layer j (M_j > 0), in nats.
        variance: Variance over the nets that are alive at layer j.
        log_survival: Log of the probability that a net is alive at layer j.
    """

    mean: Array
    variance: Array
    log_survival: Array


def log_length(widths: ArrayLike, kappas: ArrayLike = 2.0) -> LogLength:
    """Compute the mean and variance of log(M_j / M_0) over fully connected ReLU nets with Gaussian weights, no biases.

    M_j = ‖act_j‖² / n_j is the length of layer j. M_j / M_{j−1} = (kappa_j / n_j) χ²_K with K ~ Binomial(n_j, 1/2),
    independently in each layer; a net with K = 0 is dead. Given K > 0, log χ²_K has mean ψ(K/2) + log 2 and variance
    ψ'(K/2). In a wide layer log M changes by about log(kappa/2) − 5/(2n) on average, with variance about 5/n: a typical
    net has a smaller M than the mean over nets.
    Source: derived from the fact that, given a layer's input, its pre-activations are independent normals, of which
    ReLU keeps the positive half; after Hanin & Rolnick 2018 (arXiv:1803.01719), section 4.

    Args:
        widths: Width n_j of each layer, shape (d,).
        kappas: fan_in · Var W of each layer, shape (d,), or one number for all layers.

    Raises:
        ValueError: a width or a kappa is not positive.

    Example:
        >>> mean, variance, _ = log_length([100] * 50)
        >>> round(float(mean[-1]), 2), round(float(variance[-1]), 2)  # near −5/2 · 50/100 and 5 · 50/100
        (-1.27, 2.6)
    """
    widths = checked_widths(widths)
    kappas, _ = checked_law(np.broadcast_to(kappas, widths.shape), 0.0)
    means, variances = np.array([_log_chi_square(int(n)) for n in widths]).reshape(-1, 2).T
    return LogLength(
        mean=np.cumsum(np.log(kappas / widths) + means),
        variance=np.cumsum(variances),
        log_survival=log_survival(widths),
    )


def log_survival(widths: ArrayLike) -> Array:
    """Compute log P(M_j > 0), the log probability that a ReLU net without biases has a nonzero activation in layer j.

    For any continuous symmetric distribution of the weights each unit outputs 0 with probability 1/2, so that all units
    of a layer do with probability 2^(−n_j). Source: derived.

    Args:
        widths: Width n_j of each layer, shape (d,).

    Returns:
        Shape (d,), in nats.

    Raises:
        ValueError: a width is not positive.

    Example:
        >>> np.exp(log_survival([2, 1]))  # 1 − 1/4, then (1 − 1/4) (1 − 1/2)
        array([0.75 , 0.375])
    """
    return np.cumsum(np.log1p(-np.exp2(-checked_widths(widths))))


def _log_chi_square(n: int) -> tuple[float, float]:
    """Compute the mean and variance of log χ²_K given K > 0, where K ~ Binomial(n, 1/2)."""
    active = np.arange(1, n + 1)
    weights = binom.pmf(active, n, 0.5)
    weights /= weights.sum()
    means = psi(active / 2) + math.log(2)
    mean = float(weights @ means)
    return mean, float(weights @ (polygamma(1, active / 2) + (means - mean) ** 2))
