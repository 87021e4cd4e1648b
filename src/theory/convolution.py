"""Lengths of convolutional nets, whose fan-in is kernel × channels: padding decides which formula is exact.

With stride 1 and circular padding every input feeds as many outputs as the kernel has positions, so that the fully
connected law E[M_j] = (kappa_j E[M_{j−1}] + v_j) / 2 is exact, with kappa = kernel · channels_in · Var W
(`log_mean_length`). With zero padding it is an upper bound, as inputs at the border feed fewer outputs.
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
    """The side of a kernel that keeps images at their size: an odd whole number."""
    size = positive_integer(name, value)
    if size % 2 == 0:
        raise ValueError(f"{name} = {size}: must be odd for outputs to be as large as inputs")
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
    """log E[M_j] for layers j = 1 … d of a zero-padded net, exactly, for an input with a given profile.

    With e_j(p) the mean square at position p,
        e_j(p) = E[φ²]/E[z²] (kappa_j · (1/kernel) Σ_o e_{j−1}(p + o) + v_j),
    o over the kernel and e = 0 outside the image. Source: derived.

    Args:
        kappas: kappa of each layer, shape (d,).
        bias_variances: v of each layer, shape (d,) or a number for all.
        kernel_size: Side of the kernel, odd.
        input_profile: x² averaged over channels at each position, of the image's shape; its mean is M_0.
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
        unit = max(log_scale, log_bias)  # in which neither term overflows
        profile = _mean_under_kernel(profile, kernel_size, "zeros")
        profile = kappa * math.exp(log_scale - unit) * profile + math.exp(log_bias - unit)
        profile, log_scale = activation.second * profile, unit
        mean = profile.mean()
        if mean > 0:  # kept at mean 1, so that no depth overflows
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
    """log E[M_l] of act_l = act_{l−1} + eta_l φ(W_l ∗ act_{l−1} + b_l) for modules l = 1 … L.

    At each position p, with e(p) the mean square, as in `log_mean_length_zero_padded`, and m(p) the mean activation
    (0 for the input) over channels, z(p) = kappa · (1/kernel) Σ_o e(p + o) + v,
        e ← e + eta² E[φ²] z + 2 eta m E[φ] √z,   m ← m + eta E[φ] √z,
    with the values of the module before on the right. Exact for linear units, E[φ] = 0; else the limit of many
    channels. For an input that is equally large everywhere and circular padding it is `log_mean_length_residual` of
    single-layer modules. Source: derived.

    Args:
        scales: eta of each module, shape (L,).
        kappas: kappa of each module's convolution, shape (L,).
        bias_variances: v of each module, shape (L,) or a number for all.
        kernel_size: Side of the kernel, odd.
        input_profile: x² averaged over channels at each position, of the image's shape; its mean is M_0.
        padding: `circular` or `zeros`.
        activation: φ of every module.

    Returns:
        Shape (L,), in nats; −inf where the length is 0.

    Raises:
        ValueError: the kernel is even, there is no such padding, a kappa is not positive, or a bias variance is
            negative.

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
    """Upper bound of log(E[M_j²] / E[M_j]²) for layers j = 1 … d with circular padding and zero biases.

    Σ_i log(1 + (p max(3, k4) − 1) / channels_i), p = E[φ⁴]/E[z⁴] / (E[φ²]/E[z²])²; for ReLU, normal and lighter tails
    5 / channels_i, a fully connected layer with a unit for each channel. Channels are independent given a layer's
    input, and no mean over positions has a greater E[(·)²] / E[·]² than a single position (Minkowski). Attained where
    all positions are equal; a varied image has a lower ratio, since its positions are many random numbers, not one.
    Source: derived.

    Args:
        channels: Channels of each layer, shape (d,).
        kurtosis: k4 of each layer's weights, shape (d,) or a number for all.
        activation: φ of every layer.

    Returns:
        Shape (d,), in nats.

    Raises:
        ValueError: a number of channels is not positive.

    Example:
        >>> np.exp(log_moment_ratio_bound([10, 5])).round(3)  # 1 + 5/10, and that times 1 + 5/5
        array([1.5, 3. ])
    """
    tails = activation.peakedness * np.maximum(np.asarray(kurtosis, dtype=np.float64), 3.0)
    return np.cumsum(np.log1p((tails - 1) / checked_widths(channels)))


def _mean_under_kernel(profile: Array, kernel_size: int, padding: str) -> Array:
    """The mean of a profile over the kernel around each position, with 0 outside a zero-padded image."""
    for axis in range(profile.ndim):
        mode = "wrap" if padding == "circular" else "constant"
        profile = uniform_filter1d(profile, kernel_size, axis=axis, mode=mode)
    return np.maximum(profile, 0.0)  # a running sum can end just below
