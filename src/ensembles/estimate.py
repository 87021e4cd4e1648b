"""Estimators from the lengths of an ensemble that remain accurate when lengths are heavy-tailed over nets.

At beta near 1 and above, M_d is so heavy-tailed over nets that its sample mean and variance are far too small: for
width = depth = 60 the exact relative variance is (1 + 5/60)^60 − 1 = 121, while 1,000 nets give about 26. In contrast,
layer ratios M_j / M_{j−1} are nearly independent and light-tailed, and logarithms of lengths are light-tailed too.

Errors are standard errors over nets. They include the variance over inputs if each net has inputs of its own, as in
`Ensemble`, whose nets are independent samples.

The argument of all functions is log_lengths of shape (nets, d + 1): log M_0 … log M_d of each net, −inf if a layer is
dead.
"""

from typing import NamedTuple

import numpy as np

from start_training.ensembles.scaled import Array

# Dead layers are −inf and unknown values are NaN, which is intended and needs no warning.
_QUIET = np.errstate(invalid="ignore", divide="ignore")


class LayerEstimate(NamedTuple):
    """An estimate for each of layers 0 … d: `value` and its standard `error`, both of shape (d + 1,)."""

    value: Array
    error: Array


@_QUIET
def log_mean_by_ratios(log_lengths: Array) -> LayerEstimate:
    """Estimate log E[M_j / M_0] = Σ_{i ≤ j} log E[M_i / M_{i−1}] from the means of layer ratios over living nets.

    This is correct if the mean of a ratio does not depend on earlier layers, as in fully connected nets without biases.
    The logarithm of a mean of N ratios is too low by Var / (2 N mean²) on average, which is added.
    """
    mean, relative = _moments(_ratios(log_lengths))
    rates, errors = np.log(mean) + relative / 2, np.sqrt(relative)
    values = np.where(dead_share(log_lengths)[1:] == 1, -np.inf, np.cumsum(rates))
    return LayerEstimate(_from_zero(values), _from_zero(np.sqrt(np.cumsum(errors**2))))


@_QUIET
def log_mean(log_lengths: Array) -> LayerEstimate:
    """Estimate log E[M_j / M_0] by the log of the sample mean over nets, including dead ones.

    The error is the relative standard error of the mean; the estimate is reliable only if the error is well below 1.
    """
    logs = log_lengths - log_lengths[:, :1]
    top = logs.max(0)
    shares = np.exp(logs - np.where(np.isfinite(top), top, 0.0))
    mean, relative = _moments(np.where(np.isneginf(logs), 0.0, shares))
    return LayerEstimate(top + np.log(mean), np.sqrt(relative))


@_QUIET
def log_moment_ratio_by_ratios(log_lengths: Array) -> LayerEstimate:
    """Estimate log(E[M_j²] / E[M_j]²) = Σ_{i ≤ j} log(E[r_i²] / E[r_i]²) from layer ratios r_i = M_i / M_{i−1}.

    The ratios are those of living nets. The expm1 of the result is the relative variance of M_j. This is correct if
    ratios of different layers are independent: in fully connected nets without biases whose weights are Gaussian or
    orthogonal, and approximately for other weights. Errors by the delta method.
    """
    ratios = _ratios(log_lengths)
    relative = ratios / _mean(ratios)
    second = _mean(relative**2)
    influence = relative**2 / second - 2 * relative  # influence of one net on log second − 2 log mean
    errors = _variance(influence, ddof=1) / _count(ratios)
    # The log of a mean is too low by half its relative variance; log second occurs once, log mean twice.
    bias = (_variance(relative**2 / second) / 2 - _variance(relative)) / _count(ratios)
    return LayerEstimate(_from_zero(np.cumsum(np.log(second) + bias)), _from_zero(np.sqrt(np.cumsum(errors))))


@_QUIET
def log_moment_ratio(log_lengths: Array) -> LayerEstimate:
    """Estimate log(E[M_j²] / E[M_j]²) by sample moments over nets, including dead ones.

    It is intended for nets whose layer ratios are not independent, such as residual nets, and reliable only if it is
    well below 1. Errors by the delta method.
    """
    relative = np.exp(log_lengths - log_lengths[:, :1] - log_mean(log_lengths).value)
    second = _mean(np.square(relative))
    influence = np.square(relative) / second - 2 * relative
    return LayerEstimate(np.log(second), np.sqrt(_variance(influence, ddof=1) / len(log_lengths)))


@_QUIET
def log_variance(log_lengths: Array) -> LayerEstimate:
    """Estimate Var[log M_j] over the nets that are alive in layer j, with the standard error of a sample variance."""
    logs = _finite(log_lengths)
    error = np.sqrt(_variance(np.square(logs - _mean(logs))) / _count(logs))
    return LayerEstimate(_variance(logs, ddof=1), error)


def dead_share(log_lengths: Array) -> Array:
    """Return the fraction of nets that are dead in each layer, shape (d + 1,)."""
    return np.isneginf(log_lengths).mean(0)


@_QUIET
def log_layer_variance(log_lengths: Array) -> LayerEstimate:
    """Estimate the mean over nets of the log relative variance of a net's lengths over its layers 1 … j.

    The relative variance of one net is ((1/j) Σ_i M_i² − ((1/j) Σ_i M_i)²) / ((1/j) Σ_i M_i)², the across-layer
    variance of failure mode 2 divided by the squared mean. Its logarithm is averaged, since it is heavy-tailed over
    nets. The estimate is NaN for j < 2. Nets whose first layer is dead, or whose lengths differ only by rounding, are
    left out.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), section 3.
    """
    logs = log_lengths[:, 1:]
    sums = np.logaddexp.accumulate(logs, axis=1)
    squares = np.logaddexp.accumulate(2 * logs, axis=1)
    layers = np.arange(1, logs.shape[1] + 1)
    # log of (1/j) Σ M² / ((1/j) Σ M)², which is at least 0 up to rounding by Jensen's inequality
    excess = squares - 2 * sums + np.log(layers)
    rounding = 4 * layers * np.finfo(np.float64).eps * (1 + np.abs(sums))
    relative = np.log(np.expm1(np.where(excess > rounding, excess, 0.0)))
    relative[:, 0] = np.nan
    relative = _finite(relative)
    error = np.sqrt(_variance(relative, ddof=1) / _count(relative))
    return LayerEstimate(np.concatenate([[np.nan], _mean(relative)]), np.concatenate([[np.nan], error]))


def _ratios(log_lengths: Array) -> Array:
    """Return M_j / M_{j−1}, shape (nets, d); NaN if layer j − 1 is dead, 0 if only layer j is dead."""
    return np.exp(log_lengths[:, 1:] - _finite(log_lengths[:, :-1]))


def _moments(values: Array) -> tuple[Array, Array]:
    """Return the mean over nets and the squared relative standard error of this mean."""
    mean = _mean(values)
    return mean, _variance(values, ddof=1) / _count(values) / mean**2


def _mean(values: Array) -> Array:
    """Return the mean over the nets with finite values; NaN if there are none."""
    return np.where(np.isfinite(values), values, 0.0).sum(0) / _count(values)


def _variance(values: Array, *, ddof: int = 0) -> Array:
    """Return the variance over the nets with finite values; NaN if there are at most `ddof` of them."""
    count = _count(values)
    return _mean(np.square(values - _mean(values))) * count / np.where(count > ddof, count - ddof, np.nan)


def _count(values: Array) -> Array:
    return np.isfinite(values).sum(0).astype(np.float64)


def _finite(logs: Array) -> Array:
    return np.where(np.isfinite(logs), logs, np.nan)


def _from_zero(values: Array) -> Array:
    return np.concatenate([[0.0], values])
