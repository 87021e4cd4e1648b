"""Activation lengths of convolutional nets, for circular and for zero padding.

With stride 1 and circular padding every input value feeds as many outputs as the kernel has positions, so that the
recursion of fully connected nets, E[M_j] = (kappa_j E[M_{j−1}] + v_j) / 2 (`log_mean_length`), is exact with
kappa = kernel · channels_in · Var W. With zero padding the recursion is an upper bound, because input values at the
border feed fewer outputs.
Source: Hanin & Rolnick 2018 (arXiv:1803.01719), remark on convolutional nets; padding: derived.
"""

import math
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import uniform_filter1d

from start_training.settings import OneOf, checked, positive_integer
from start_training.theory.activation import RELU, Array, Homogeneous
from start_training.theory.beta import checked_widths
from start_training.theory.mean_length import checked_law, log_or_minus_infinity


def odd_kernel(name: str, value: object) -> int:
    """Check that the side of a kernel is an odd whole number, so that padding can keep the size of images."""
    size = positive_integer(name, value)
    if size % 2 == 0:
        raise ValueError(f"{name} = {size}: must be odd, so that padding preserves the size of images")
    return size


OddKernel = Annotated[int, odd_kernel]
Padding = Annotated[str, OneOf(("circular", "zeros"))]


@checked
def log_mean_length_zero_padded(
    kappas: ArrayLike,
    bias_variances: ArrayLike = 0.0,
    *,
    kernel_size: OddKernel,
    input_profile: ArrayLike,
    activation: Homogeneous = RELU,
) -> Array:
    """Compute log E[M_j], the log mean length of layers j = 1 … d, of a convolutional net with zero padding.

    The result is exact. With e_j(p) the mean square at position p, o the offsets in the kernel and e = 0 outside the
    image,
        e_j(p) = E[φ²]/E[z²] (kappa_j · (1/kernel) Σ_o e_{j−1}(p + o) + v_j).
    Source: derived.

    Args:
        kappas: fan_in · Var W of each layer, shape (d,).
        bias_variances: Variance v_j of the biases of each layer, shape (d,), or one number for all layers.
        kernel_size: Side of the kernel, odd.
        input_profile: Mean over channels of x² at each position, of the image's shape; the mean of the profile is M_0.
        activation: φ of every layer.

    Returns:
        Shape (d,), in nats; −inf where the length is 0.

    Raises:
        ValueError: the kernel is even, a kappa is not positive, or a bias variance is negative.

    Example:
        >>> log_mean_length_zero_padded([2.0, 2.0], kernel_size=3, input_profile=np.ones((8, 8))).round(3)
        array([-0.174, -0.299])
    """
    kappas, biases = checked_law(kappas, bias_variances)
    profile, log_scale, lengths = np.asarray(input_profile, dtype=np.float64), 0.0, []
    for kappa, log_bias in zip(kappas, map(log_or_minus_infinity, biases), strict=True):
        unit = max(log_scale, log_bias)  # in units of e^unit neither term overflows
        profile = _mean_under_kernel(profile, kernel_size, "zeros")
        profile = kappa * math.exp(log_scale - unit) * profile + math.exp(log_bias - unit)
        profile, log_scale = activation.second * profile, unit
        mean = profile.mean()
        if mean > 0:  # the profile is rescaled to mean 1, so that deep nets do not overflow
            profile, log_scale = profile / mean, log_scale + math.log(mean)
        lengths.append(log_scale if mean > 0 else -math.inf)
    return np.array(lengths)


@checked
def log_mean_length_residual_convolutional(
    scales: ArrayLike,
    kappas: ArrayLike,
    bias_variances: ArrayLike = 0.0,
    *,
    kernel_size: OddKernel,
    input_profile: ArrayLike,
    padding: Padding = "circular",
    activation: Homogeneous = RELU,
) -> Array:
    """Compute log E[M_l], the log mean length after modules l = 1 … L, of a residual convolutional net.

    The module is act_l = act_{l−1} + eta_l φ(W_l ∗ act_{l−1} + b_l). At each position p, let e(p) be the mean square
    and m(p) the mean activation over channels (0 for the input), and z(p) = kappa · (1/kernel) Σ_o e(p + o) + v, with
    o the offsets in the kernel. One module changes e and m to
        e + eta² E[φ²] z + 2 eta m E[φ] √z   and   m + eta E[φ] √z.
    The result is exact for linear units, E[φ] = 0, and otherwise the limit of many channels. For circular padding and
    a constant input profile it equals `log_mean_length_residual` with modules of one layer. Source: derived.

    Args:
        scales: eta of each module, shape (L,).
        kappas: fan_in · Var W of each module's convolution, shape (L,).
        bias_variances: Variance v of the biases of each module, shape (L,), or one number for all modules.
        kernel_size: Side of the kernel, odd.
        input_profile: Mean over channels of x² at each position, of the image's shape; the mean of the profile is M_0.
        padding: `circular` or `zeros`.
        activation: φ of every module.

    Returns:
        Shape (L,), in nats; −inf where the length is 0.

    Raises:
        ValueError: the kernel is even, padding is neither `circular` nor `zeros`, a kappa is not positive, or a bias
            variance is negative.

    Example:
        >>> profile = np.ones((8, 8))
        >>> log_mean_length_residual_convolutional([1.0], [2.0], kernel_size=3, input_profile=profile).round(3)
        array([0.693])
    """
    kappas, biases = checked_law(kappas, bias_variances)
    profile, log_scale, lengths = np.asarray(input_profile, dtype=np.float64), 0.0, []
    skew = np.zeros_like(profile)
    for eta, kappa, log_bias in zip(np.asarray(scales, float), kappas, map(log_or_minus_infinity, biases), strict=True):
        unit = max(log_scale, log_bias)
        profile, skew = profile * math.exp(log_scale - unit), skew * math.exp((log_scale - unit) / 2)
        variance = kappa * _mean_under_kernel(profile, kernel_size, padding) + math.exp(log_bias - unit)
        push = eta * activation.mean * np.sqrt(variance)
        profile = profile + eta**2 * activation.second * variance + 2 * skew * push
        skew, log_scale, mean = skew + push, unit, profile.mean()
        if mean > 0:
            profile, skew, log_scale = profile / mean, skew / math.sqrt(mean), log_scale + math.log(mean)
        lengths.append(log_scale if mean > 0 else -math.inf)
    return np.array(lengths)


def log_moment_ratio_bound(channels: ArrayLike, kurtosis: ArrayLike = 3.0, *, activation: Homogeneous = RELU) -> Array:
    """Compute an upper bound of log(E[M_j²] / E[M_j]²) for layers j = 1 … d of a convolutional net.

    M_j is the mean square of the activations of layer j, and E the mean over random nets. The bound holds with circular
    padding and zero biases. It is Σ_i log(1 + (p max(3, k4) − 1) / channels_i) over layers i ≤ j, where p = E[φ⁴]/E[z⁴]
    / (E[φ²]/E[z²])² and k4 is the kurtosis. For ReLU and k4 ≤ 3 the added term is 5 / channels_i, as in a fully
    connected layer with one unit per channel. Proof: given a layer's input, channels are independent, and by
    Minkowski's inequality a mean over positions has no greater E[(·)²] / E[·]² than a single position. The bound is
    attained if all positions are equal. Source: derived.

    Args:
        channels: Channels of each layer, shape (d,).
        kurtosis: Kurtosis k4 of each layer's weights, shape (d,), or one number for all layers.
        activation: φ of every layer.

    Returns:
        Shape (d,), in nats.

    Raises:
        ValueError: a number of channels is not positive.

    Example:
        >>> np.exp(log_moment_ratio_bound([10, 5])).round(3)  # 1 + 5/10, then (1 + 5/10) (1 + 5/5)
        array([1.5, 3. ])
    """
    tails = activation.peakedness * np.maximum(np.asarray(kurtosis, dtype=np.float64), 3.0)
    return np.cumsum(np.log1p((tails - 1) / checked_widths(channels)))


def _mean_under_kernel(profile: Array, kernel_size: int, padding: str) -> Array:
    """Average a profile over the kernel around each position; values outside a zero-padded image count as 0."""
    for axis in range(profile.ndim):
        mode = "wrap" if padding == "circular" else "constant"
        profile = uniform_filter1d(profile, kernel_size, axis=axis, mode=mode)
    return np.maximum(profile, 0.0)  # rounding in SciPy's running sum can give values just below 0
