"""The moment ratio log(E[M²] / E[M]²) of the length over nets, measured and predicted (failure mode 2).

Nets are narrow, so that the ratio depends strongly on the distribution of the weights. Its standard error is estimated
by the jackknife, which leaves out each of 50 batches of nets.
"""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from start_training.ensembles.estimate import log_moment_ratio_by_ratios
from start_training.ensembles.gaussian_law import sample_gaussian_law
from start_training.initializers.initializer import Fans, Initializer
from start_training.initializers.orthogonal import Orthogonal
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.fourth_moment import fourth_moments, mean_fourth_moment
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from start_training.theory.activation import LINEAR, Homogeneous
from start_training.theory.length_variance import log_moment_ratio, log_moment_ratio_bounds, log_moment_ratio_orthogonal
from start_training.theory.length_variance_residual import log_moment_ratio_residual
from tests.laws.sampled import HE, distance, sample_logs

UNIFORM = VarianceScaling(2.0, distribution="uniform")


class Signs(Initializer):
    """Random weights ± √(2 / fan_in), with kurtosis 1."""

    def __call__(self, weight, generator=None):
        weight.bernoulli_(0.5, generator=generator).mul_(2).sub_(1).mul_(math.sqrt(2 / weight.shape[-1]))

    fill_many_ = __call__

    def variance(self, fans):
        return 2 / fans.fan_in

    def kurtosis(self, fans):
        return 1.0


def sample_by_hand(initializer, sizes, generator, *, nets, slope=0.0):
    """Sample lengths and fourth moments of nets with the same input of length 1.

    Returns:
        M_1 … M_d, shape (nets, d), and E[Σ x⁴] / E[‖x‖⁴] of each layer's input, shape (d,).
    """
    x = torch.randn(sizes[0], generator=generator)
    x = (x / x.square().mean().sqrt()).expand(nets, -1)
    lengths, moments = [], []
    for fan_in, width in pairwise(sizes):
        weights, biases = torch.empty(nets, width, fan_in), torch.empty(nets, width)
        initializer.fill_many_(weights, generator)
        initializer.fill_bias_(biases, Fans(fan_in, width), generator)
        moments.append(mean_fourth_moment(fourth_moments(x), activation_lengths(x).log()).item())
        x = torch.nn.functional.leaky_relu(torch.bmm(weights, x[:, :, None])[:, :, 0] + biases, slope)
        lengths.append(activation_lengths(x))
    return torch.stack(lengths, 1).numpy(), np.array(moments)


def log_ratio_and_error(lengths, batches=50):
    """Estimate log(E[M²] / E[M]²) over the first axis and its standard error by the jackknife."""
    parts = np.stack([lengths, lengths**2]).reshape(2, batches, -1, lengths.shape[-1]).mean(2)
    others = (parts.sum(1, keepdims=True) - parts) / (batches - 1)
    whole, without = (np.log(square) - 2 * np.log(mean) for mean, square in (parts.mean(1), others))
    estimate = batches * whole - (batches - 1) * without.mean(0)
    return estimate, np.sqrt((batches - 1) * without.var(0))


def ratio_sigmas(lengths, predicted):
    estimate, error = log_ratio_and_error(lengths)
    return np.abs(estimate - predicted) / error


@pytest.mark.parametrize("widths", [[30, 10] * 15, [30] * 10 + [20] * 10 + [10] * 10], ids=["alternating", "falling"])
def test_gaussian_relu_layers_multiply_the_ratio_by_1_plus_5_over_n(widths):
    build = partial(FullyConnected, 30, 2, widths=widths)
    estimate = log_moment_ratio_by_ratios(sample_logs(build, nets=4000, size=30))
    assert (distance(estimate, log_moment_ratio(widths)) < 4).all()
    for wrong in 4, 6:
        assert distance(estimate, np.cumsum(np.log1p(wrong / np.array(widths))))[-1] > 4


def test_the_ratio_does_not_grow_with_the_depth_of_residual_nets():
    build = partial(Residual, 30, 2, modules=30, width=30, scales="geometric", base=0.5)
    logs = sample_logs(build, nets=4000, size=30)
    estimate, error = log_ratio_and_error(np.exp(logs[:, 1:]))
    (exact, _) = build().law(HE).log_moment_ratio()
    assert estimate[-1] - estimate[9] < 0.01 < 20 * log_moment_ratio([30])[0] - 4 * error[-1]
    assert abs(estimate[-1] / exact[-1] - 1) < 0.15  # theory is to first order in 1 / width


@pytest.mark.parametrize("slope, activation", [(0.3, Homogeneous(0.3)), (1.0, LINEAR)], ids=["leaky_relu", "linear"])
def test_the_ratio_of_other_homogeneous_activations_depends_on_their_peakedness(slope, activation, generator):
    lengths, _ = sample_by_hand(HE, [20] * 4, generator, nets=20_000, slope=slope)
    assert (ratio_sigmas(lengths, log_moment_ratio([20] * 3, activation=activation)) < 4).all()
    assert (ratio_sigmas(lengths, log_moment_ratio([20] * 3)) > 4).all()


@pytest.mark.parametrize("initializer, nets", [(UNIFORM, 200_000), (Signs(), 50_000)], ids=["uniform", "signs"])
def test_the_ratio_depends_on_the_kurtosis_times_the_fourth_moments_of_inputs(initializer, nets, generator):
    widths, kurtosis = [8] * 3, initializer.kurtosis(Fans(8, 8))
    lengths, moments = sample_by_hand(initializer, [8] * 4, generator, nets=nets)
    predicted = log_moment_ratio(widths, kurtosis=kurtosis, fourth_moments=moments)
    assert (ratio_sigmas(lengths, predicted) < 4).all()
    assert (ratio_sigmas(lengths, log_moment_ratio(widths)) > 4).all()
    estimate, error = log_ratio_and_error(lengths)
    lower, upper = log_moment_ratio_bounds(widths, widths, kurtosis=kurtosis)
    assert (lower < estimate + 4 * error).all()
    assert (estimate - 4 * error < upper).all()
    assert (upper < log_moment_ratio(widths)).all()  # the ratio of Gaussian weights is outside the bounds


def test_the_ratio_depends_on_biases_and_their_kurtosis(generator):
    initializer, fans = TorchDefault(), [Fans(8, 8)] * 3
    lengths, moments = sample_by_hand(initializer, [8] * 4, generator, nets=50_000)
    moments_of_weights = initializer.moments(fans)
    law = [8] * 3, moments_of_weights["kappas"], moments_of_weights["bias_variances"]
    right = log_moment_ratio(*law, kurtosis=1.8, bias_kurtosis=1.8, fourth_moments=moments)
    normal_biases = log_moment_ratio(*law, kurtosis=1.8, fourth_moments=moments)
    without = log_moment_ratio(*law[:2], kurtosis=1.8, fourth_moments=moments)
    assert (ratio_sigmas(lengths, right) < 4).all()
    assert (ratio_sigmas(lengths, normal_biases)[1:] > 4).all()  # in the first layer an input of length 1 drowns them
    assert (ratio_sigmas(lengths, without)[1:] > 4).all()


def test_the_ratio_of_square_tall_and_wide_orthogonal_layers_is_predicted(generator):
    sizes = [10, 10, 16, 8]
    lengths, _ = sample_by_hand(Orthogonal(), sizes, generator, nets=20_000)
    assert (ratio_sigmas(lengths, log_moment_ratio_orthogonal(sizes[1:], sizes[:-1])) < 4).all()
    as_if_square = log_moment_ratio_orthogonal(sizes[1:], sizes[1:])
    assert ratio_sigmas(lengths, as_if_square)[2] > 4  # a tall layer has the ratio of a square layer of its outputs
    as_if_inputs_counted = log_moment_ratio_orthogonal(sizes[1:], [10, 10, 32])
    assert ratio_sigmas(lengths, as_if_inputs_counted)[2] > 4
    assert (ratio_sigmas(lengths, log_moment_ratio(sizes[1:])) > 4).all()


def share_of_the_inputs_mean(scales, width):
    """Compute the part of Var log M_l that is due to the variance 1/n of the mean of the input.

    It uses the recursion of critical single-layer ReLU modules, M ← M (1 + eta²) + 2 eta m √(M/π), m ← m + eta √(M/π).
    """

    def lengths(mean):
        length = 1.0
        for eta in scales:
            push = eta * math.sqrt(length / math.pi)
            length, mean = length * (1 + eta**2) + 2 * mean * push, mean + push
            yield length

    above, below = (np.log(list(lengths(mean))) for mean in (1e-6, -1e-6))
    return ((above - below) / 2e-6) ** 2 / width


@pytest.mark.parametrize("module_widths", [(), (100,)], ids=["single layer", "one hidden layer"])
def test_the_ratio_of_wide_residual_modules_that_end_in_relu_is_predicted(module_widths):
    # The prediction is of first order in 1/width; 10,000 nets of width 100 do not resolve the second order. Lengths are
    # sampled without weights, by the Markov chain of the law.
    scales, width = [0.5] * 4, 100
    law = Residual(width, 1, modules=4, width=width, module_widths=module_widths, scales=scales).law(HE)
    lengths = np.exp(sample_gaussian_law(law, 10_000, generator=np.random.default_rng(0))[:, 1:])
    right = log_moment_ratio_residual(scales, width, module_widths)
    assert (ratio_sigmas(lengths, right) < 4).all()
    assert (ratio_sigmas(lengths, right - share_of_the_inputs_mean(scales, width)) > 4).all()
    independent_inputs = np.cumsum([log_moment_ratio_residual([eta], width, module_widths) for eta in scales])
    assert (ratio_sigmas(lengths, independent_inputs)[1:] > 4).all()
