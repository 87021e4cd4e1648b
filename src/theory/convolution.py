"""Mean activation length of convolutional nets: fan-in is kernel × channels, and padding decides what is exact."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter1d

from start_training.settings import one_of, positive_integer
from start_training.theory.activation import RELU, Homogeneous
from start_training.theory.beta import checked_widths
from start_training.theory.mean_length import checked_law, log_mean_length

Array = NDArray[np.float64]
PADDINGS = ("circular", "zeros")


def log_mean_length_convolutional(
    kappas: ArrayLike,
    bias_variances: ArrayLike = 0.0,
    *,
    kernel_size: int,
    image: Sequence[int],
    padding: str = "circular",
    log_input_length: float = 0.0,
    activation: Homogeneous = RELU,
) -> tuple[Array, Array]:
    """Lower and upper bound of log E[M_j] for layers j = 1 … d, each (d,): stride 1, outputs as large as inputs.

    kappa = kernel · channels_in · Var W, kernel = kernel_size^(axes of the image). With circular padding every input
    feeds `kernel` outputs, so the fully connected law E[M_j] = (kappa_j E[M_{j−1}] + v_j) / 2 is exact and the bounds
    are equal. With zero padding that is the upper bound; an input at a corner feeds only a share c of that many
    outputs, and kappa_j · c gives the lower one (c = 4/9 for 3 × 3 kernels). `log_mean_length_zero_padded` is exact.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), remark on convolutional nets; padding: derived.
    Raises ValueError for an even kernel, an unknown padding, or an impossible variance.
    """
    kappas, biases = checked_law(kappas, bias_variances)
    covered = math.prod(_least_share(odd_kernel(kernel_size), size) for size in image)
    share = 1.0 if one_of("padding", padding, PADDINGS) == "circular" else covered
    lower, upper = (
        log_mean_length(kappas * factor, biases, log_input_length=log_input_length, activation=activation)
        for factor in (share, 1.0)
    )
    return lower, upper


def log_mean_length_zero_padded(
    kappas: ArrayLike,
    bias_variances: ArrayLike = 0.0,
    *,
    kernel_size: int,
    input_profile: ArrayLike,
    activation: Homogeneous = RELU,
) -> Array:
    """log E[M_j] for layers j = 1 … d of a zero-padded net, exactly, from where its input has its length; (d,).

    input_profile: x² averaged over channels at each position, of the image's shape; its mean is M_0. With e_j(p)
    the mean square at position p, e_j(p) = E[φ²]/E[z²] (kappa_j · (1/kernel) Σ_o e_{j−1}(p + o) + v_j), o over the
    kernel and e = 0 outside the image. Source: derived. Raises ValueError as `log_mean_length_convolutional`.
    """
    kappas, biases = checked_law(kappas, bias_variances)
    profile, log_scale, lengths = np.asarray(input_profile, dtype=np.float64), 0.0, []
    for kappa, bias in zip(kappas, biases, strict=True):
        profile = _read(profile, kernel_size, "zeros")
        log_bias = _log(bias)
        unit = max(log_scale, log_bias)  # in which neither term overflows
        profile = kappa * math.exp(log_scale - unit) * profile + math.exp(log_bias - unit)
        profile, log_scale = activation.second * profile, unit
        mean = profile.mean()
        if mean > 0:  # kept at mean 1, so that no depth overflows
            profile, log_scale = profile / mean, log_scale + math.log(mean)
        lengths.append(log_scale if mean > 0 else -math.inf)
    return np.array(lengths)


def log_mean_length_residual_convolutional(
    scales: ArrayLike,
    kappas: ArrayLike,
    bias_variances: ArrayLike = 0.0,
    *,
    kernel_size: int,
    input_profile: ArrayLike,
    padding: str = "circular",
    activation: Homogeneous = RELU,
) -> Array:
    """log E[M_l] of act_l = act_{l−1} + eta_l φ(W_l ∗ act_{l−1} + b_l), l = 1 … L, each with its kappa; shape (L,).

    At each position p, with e(p) the mean square, as in `log_mean_length_zero_padded`, and m(p) the mean activation
    (0 for the input) over channels, z(p) = kappa · (1/kernel) Σ_o e(p + o) + v,
        e ← e + eta² E[φ²] z + 2 eta m E[φ] √z,   m ← m + eta E[φ] √z,
    right-hand sides old. Exact for linear units, E[φ] = 0; else the limit of many channels. For an input that is
    as large everywhere and circular padding, `log_mean_length_residual` of single-layer modules.
    Source: derived. Raises ValueError as `log_mean_length_convolutional`.
    """
    kappas, biases = checked_law(kappas, bias_variances)
    profile, log_scale, lengths = np.asarray(input_profile, dtype=np.float64), 0.0, []
    skew = np.zeros_like(profile)
    for eta, kappa, bias in zip(np.asarray(scales, dtype=np.float64), kappas, biases, strict=True):
        unit = max(log_scale, _log(bias))
        profile, skew = profile * math.exp(log_scale - unit), skew * math.exp((log_scale - unit) / 2)
        variance = kappa * _read(profile, kernel_size, padding) + math.exp(_log(bias) - unit)
        push = eta * activation.mean * np.sqrt(variance)
        profile = profile + eta**2 * activation.second * variance + 2 * skew * push
        skew, log_scale, mean = skew + push, unit, profile.mean()
        if mean > 0:
            profile, skew, log_scale = profile / mean, skew / math.sqrt(mean), log_scale + math.log(mean)
        lengths.append(log_scale if mean > 0 else -math.inf)
    return np.array(lengths)


def log_moment_ratio_bound(channels: ArrayLike, kurtosis: ArrayLike = 3.0, *, activation: Homogeneous = RELU) -> Array:
    """Upper bound of log(E[M_j²] / E[M_j]²), j = 1 … d, of circular padding and zero biases; shape (d,).

    Σ_i log(1 + (p max(3, k4) − 1) / channels_i), p = E[φ⁴]/E[z⁴] / (E[φ²]/E[z²])²; for ReLU, normal and lighter tails
    5 / channels_i, a fully connected layer with a unit for each channel. Channels are independent given a layer's
    input, and no mean over positions has a greater E[(·)²] / E[·]² than a single position (Minkowski). Attained where
    all positions are alike; a varied image stays below, since its positions are not one random number but many.
    Source: derived.
    """
    tails = activation.peakedness * np.maximum(np.asarray(kurtosis, dtype=np.float64), 3.0)
    return np.cumsum(np.log1p((tails - 1) / checked_widths(channels)))


def odd_kernel(kernel_size: int) -> int:
    """A kernel that leaves images their size. Raises ValueError for an even one, or none."""
    if positive_integer("kernel_size", kernel_size) % 2 == 0:
        raise ValueError(f"kernel_size = {kernel_size}: must be odd for outputs to be as large as inputs")
    return kernel_size


def _read(profile: Array, kernel_size: int, padding: str) -> Array:
    """The mean over what the kernel reads around each position, 0 outside a zero-padded image."""
    mode = "wrap" if one_of("padding", padding, PADDINGS) == "circular" else "constant"
    for axis in range(profile.ndim):
        profile = uniform_filter1d(profile, odd_kernel(kernel_size), axis=axis, mode=mode)
    return np.maximum(profile, 0.0)  # a running sum can end just below


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _least_share(kernel_size: int, size: int) -> float:
    """Of the outputs that read an input, the least share that lie in an image with so many positions on an axis."""
    return min(size, kernel_size // 2 + 1) / kernel_size
