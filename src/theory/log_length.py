"""The law of log M in Gaussian ReLU nets: the length of a typical net, where the mean is dominated by rare nets."""

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
    """Moments of log(M_j / M_0) for layers j = 1 … d, each of shape (d,).

    Args:
        mean: Over nets that are alive at layer j, in nats.
        variance: Over nets that are alive at layer j.
        log_survival: Log of the probability that a net is alive at layer j.
    """

    mean: Array
    variance: Array
    log_survival: Array


def log_length(widths: ArrayLike, kappas: ArrayLike = 2.0) -> LogLength:
    """Moments of log(M_j / M_0) of a fully connected ReLU net of Gaussian weights without biases.

    M_j / M_{j−1} = (kappa_j / n_j) χ²_K with K ~ Binomial(n_j, 1/2), independent from layer to layer; K = 0 is a
    dead net. Given K > 0, log χ²_K has mean ψ(K/2) + log 2 and variance ψ'(K/2). For wide layers the variance
    is near 5/n and the mean near log(kappa/2) − 5/(2n): a typical net is shorter than the mean of all.
    Source: derived, as given its input a layer's pre-activations are independent normals, half of which a ReLU keeps;
    after Hanin & Rolnick 2018 (arXiv:1803.01719), section 4.

    Args:
        widths: Width n_j of each layer, shape (d,).
        kappas: kappa_j of each layer, shape (d,) or a number for all.

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
    """log P(M_j > 0) of a ReLU net without biases, for layers j = 1 … d.

    Each unit is silent with probability 1/2 for any continuous symmetric law of its weights, so that a layer dies with
    probability 2^(−n_j). Source: derived.

    Args:
        widths: Width n_j of each layer, shape (d,).

    Returns:
        Shape (d,), in nats.

    Raises:
        ValueError: a width is not positive.

    Example:
        >>> np.exp(log_survival([2, 1]))  # 3/4, and half of it
        array([0.75 , 0.375])
    """
    return np.cumsum(np.log1p(-np.exp2(-checked_widths(widths))))


def _log_chi_square(n: int) -> tuple[float, float]:
    """Mean and variance of log χ²_K given K > 0, where K ~ Binomial(n, 1/2)."""
    active = np.arange(1, n + 1)
    weights = binom.pmf(active, n, 0.5)
    weights /= weights.sum()
    means = psi(active / 2) + math.log(2)
    mean = float(weights @ means)
    return mean, float(weights @ (polygamma(1, active / 2) + (means - mean) ** 2))
