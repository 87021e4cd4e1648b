"""Sample the lengths of nets with Gaussian weights from their exact law, without drawing the weights.

Given the input x of a layer with Gaussian weights, its pre-activations are independent and normal with variance
s² = kappa M(x) + v, which depends on x only through its length M(x). Lengths therefore form a Markov chain over layers.
"""

import math

import numpy as np

from start_training.ensembles.scaled import Array
from start_training.theory.activation import Homogeneous
from start_training.theory.fully_connected import FullyConnectedLaw
from start_training.theory.residual import ResidualLaw


def sample_gaussian_law(
    law: FullyConnectedLaw | ResidualLaw, nets: int, *, generator: np.random.Generator, log_input_length: float = 0.0
) -> Array:
    """Sample log M_0 … log M_d of nets with Gaussian weights from their exact law.

    Fully connected nets need O(1) random numbers per layer: M_j = (s²/n_j) (χ²_K + a² χ²_{n_j − K}), where
    K ~ Binomial(n_j, 1/2) and a is the negative slope of the activation. Residual nets need O(width) random numbers per
    module: each unit is increased by eta φ(s g) with normal g, and inputs are uniform on a sphere. A layer of a ReLU
    net with K = 0 is dead; without biases, all later layers are dead too.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), section 4: given the input of a layer, its pre-activations are
    independent and normal with variance s² = kappa_j M_{j−1} + v_j; K is the number of positive pre-activations.

    Args:
        law: Law of a net with Gaussian weights and without dropout.
        nets: Number of nets to sample.
        generator: Source of all random numbers.
        log_input_length: log M_0, the same for all nets.

    Returns:
        Shape (nets, d + 1); a dead layer is −inf.

    Raises:
        ValueError: the weights are not Gaussian, or the net has dropout.

    Example:
        >>> from start_training.initializers.variance_scaling import VarianceScaling
        >>> from start_training.models.fully_connected import FullyConnected
        >>> law = FullyConnected(20, 10, depth=50, width=100).law(VarianceScaling(2.0))
        >>> sample_gaussian_law(law, 1000, generator=np.random.default_rng(0)).shape
        (1000, 51)
    """
    if not law.gaussian:
        raise ValueError(
            f"kurtosis = {law.kurtosis.tolist()}: the exact law is only known for independent Gaussian weights, whose "
            "kurtosis is 3"
        )
    start = np.full(nets, float(log_input_length))
    if isinstance(law, ResidualLaw):
        return _residual(law, start, generator)
    if law.dropout:
        raise ValueError(f"dropout = {law.dropout}: must be 0, since the exact law is only known without dropout")
    return _fully_connected(law, start, generator)


def _fully_connected(law: FullyConnectedLaw, start: Array, generator: np.random.Generator) -> Array:
    lengths = [start]
    for kappa, bias, width in zip(law.kappas, law.bias_variances, law.widths, strict=True):
        log_variance = _log_variance(lengths[-1], kappa, bias)
        lengths.append(log_variance + _log_mean_square(int(width), len(start), law.activation, generator))
    return np.stack(lengths, axis=1)


def _log_mean_square(width: int, nets: int, phi: Homogeneous, generator: np.random.Generator) -> Array:
    """Sample log((1/width) Σ_i φ(g_i)²) with `width` standard normal g_i for each net, shape (nets,)."""
    positive = generator.binomial(width, 0.5, nets)
    squares = 2 * generator.standard_gamma(positive / 2)  # χ² of 0 degrees of freedom is 0
    if phi.negative_slope:
        squares += phi.negative_slope**2 * 2 * generator.standard_gamma((width - positive) / 2)
    with np.errstate(divide="ignore"):
        return np.log(squares / width)


def _residual(law: ResidualLaw, start: Array, generator: np.random.Generator) -> Array:
    """Sample a residual net; its activations are rescaled to length 1 after every module, to avoid overflow."""
    values = generator.standard_normal((len(start), law.width))
    values /= np.sqrt(np.square(values).mean(1, keepdims=True))
    lengths = [start]
    for eta in law.scales:
        old = lengths[-1]
        log_variance = _log_variance(old, law.kappas[0], law.bias_variances[0])
        for layer, width in enumerate(law.module_widths, start=1):
            inner = log_variance + _log_mean_square(width, len(start), law.activation, generator)
            log_variance = _log_variance(inner, law.kappas[layer], law.bias_variances[layer])
        unit = np.maximum(old, log_variance)  # both terms of the sum are divided by exp(unit / 2)
        normal = generator.standard_normal(values.shape)
        update = np.where(normal > 0, 1.0, law.ending.negative_slope) * normal
        values = _times(values, old - unit) + eta * _times(update, log_variance - unit)
        squares = np.square(values).mean(1)
        with np.errstate(divide="ignore"):
            lengths.append(unit + np.log(squares))
        values /= np.sqrt(np.where(squares > 0, squares, 1.0))[:, None]
    return np.stack(lengths, axis=1)


def _times(values: Array, log_square: Array) -> Array:
    """Multiply the values of each net by exp(log_square / 2); NaN (−inf minus −inf, a dead net) counts as −inf."""
    return values * np.exp(np.nan_to_num(log_square, nan=-math.inf) / 2)[:, None]


def _log_variance(log_length: Array, kappa: float, bias: float) -> Array:
    """Return log s² = log(kappa M + v), the log variance of the pre-activations."""
    return np.logaddexp(math.log(kappa) + log_length, math.log(bias) if bias else -math.inf)
