"""The mean activation length, measured over many nets at initialization and predicted (failure mode 1).

Laws are tested on the sample mean of M at beta ≤ 0.1, where it is precise enough. At depth 30, as in figure 1a of
arXiv:1803.01719, they are tested on the product of the mean ratios of neighbouring layers.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch

from start_training.ensembles.estimate import log_mean_by_ratios
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.lengths.activation_length import activation_lengths
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from start_training.theory.mean_length import log_mean_length_residual
from tests.laws.sampled import HE, distance, on_the_sphere, sample, sample_logs

WIDTHS = [100, 150, 80, 100]  # beta = 0.04, and no two layers have the same fans
SCALES = [1.0, 0.5, 0.8, 0.3]
GLOROT = VarianceScaling(1.0, "fan_average", "uniform")


def dense(widths=WIDTHS, **settings):
    return FullyConnected(60, 1, widths=widths, **settings)


def check(lengths, predicted, sigmas):
    assert (sigmas(lengths, np.exp(predicted)) < 4).all()
    assert sigmas(lengths[:, -1], np.exp(predicted[-1] + 0.1)) > 4
    assert sigmas(lengths[:, -1], np.exp(predicted[-1] - 0.1)) > 4


def test_the_mean_length_of_every_initializer_is_predicted(initializer, sigmas):
    check(sample(dense, initializer, nets=1000), dense().law(initializer).log_mean_length(), sigmas)


def test_figure_1a_lengths_grow_by_half_kappa_per_layer():
    widths, law = [30] * 30, dense([30] * 30).law(GLOROT)
    estimate = log_mean_by_ratios(sample_logs(partial(dense, widths), GLOROT, nets=1000))
    assert (distance(estimate, law.log_mean_length()) < 4).all()
    for wrong in 0.97, 1.03:
        assert distance(estimate, np.cumsum(np.log(wrong * law.kappas / 2)))[-1] > 4


@pytest.mark.parametrize("settings", [{"activation": "linear"}, {"dropout": 0.4}], ids=str)
def test_the_mean_length_depends_on_activation_and_dropout_as_predicted(settings, sigmas):
    initializer = TorchDefault()
    lengths = sample(partial(dense, **settings), initializer, nets=2000)
    check(lengths, dense(**settings).law(initializer).log_mean_length(), sigmas)
    plain = dense().law(initializer).log_mean_length()
    assert (sigmas(lengths[:, 1:], np.exp(plain[1:])) > 4).all()


@pytest.mark.parametrize("factor", [1.0, 25.0])
def test_biases_keep_the_mean_length_constant_for_inputs_of_any_length(factor, sigmas):
    build, nets = partial(dense, [100] * 8), 600
    logs = sample_logs(build, TorchDefault(), nets=nets, inputs=factor**0.5 * on_the_sphere(nets, 60))
    lengths, law = np.exp(logs[:, 1:]), build().law(TorchDefault())
    check(lengths, law.log_mean_length(math.log(factor)), sigmas)
    assert sigmas(lengths[:, -1], 1 / 500) < 4
    if factor > 1:
        assert sigmas(lengths[:, 0], np.exp(law.log_mean_length()[0])) > 4


@pytest.mark.parametrize("initializer, module_widths", [(HE, ()), (TorchDefault(), (80,)), (GLOROT, (80,))], ids=str)
def test_residual_modules_that_end_in_a_linear_layer_are_predicted(initializer, module_widths, sigmas):
    build = partial(Residual, 60, 1, modules=4, width=60, module_widths=module_widths, scales=SCALES, ending="linear")
    predicted = build().law(initializer).log_mean_length()
    check(sample(build, initializer, nets=3000), predicted, sigmas)
    if initializer is HE:
        np.testing.assert_allclose(np.exp(predicted), np.cumprod([1 + 2 * eta**2 for eta in SCALES]), rtol=1e-12)


@pytest.mark.parametrize("module_widths", [(), (300,)], ids=["single layer", "one hidden layer"])
def test_wide_residual_modules_that_end_in_relu_are_predicted(module_widths, sigmas):
    # The error of the limit is of order 1/width: 1% at width 100, so that 200 nets of width 300 do not resolve it.
    build = partial(Residual, 300, 1, modules=4, width=300, module_widths=module_widths, scales=SCALES)
    lengths = sample(build, nets=200, size=300)  # a new input for each net: the recursion's input has mean 0
    check(lengths, build().law(HE).log_mean_length(), sigmas)
    uncorrelated = np.cumprod([1 + eta**2 for eta in SCALES])  # as if each module's output had mean 0
    assert (sigmas(lengths[:, 1:], uncorrelated[1:]) > 4).all()


@pytest.mark.parametrize("layers, ratio", [(1, 1.20), (2, 0.77)], ids=["single layer", "one hidden layer"])
def test_the_mean_length_of_narrow_residual_modules_differs_from_the_wide_limit(layers, ratio, generator, sigmas):
    nets, width, scales = 40_000, 5, [0.5] * 12  # all nets at once: tails are too heavy for thousands
    activation = on_the_sphere(nets, width)[:, :, None]
    for eta in scales:
        update = activation
        for _ in range(layers):
            weight = torch.randn(nets, width, width, generator=generator) * math.sqrt(2 / width)
            update = (weight @ update).relu()
        activation = activation + eta * update
    lengths = activation_lengths(activation)
    limit = np.exp(log_mean_length_residual(scales, [2.0] * layers)[-1])
    assert sigmas(lengths, limit) > 4
    assert sigmas(lengths, ratio * limit) < 4  # measured once with 400,000 nets: 1.198 ± 0.004, 0.768 ± 0.005
