"""The mean lengths of layers and residual modules, against recursions without logs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.theory.activation import Homogeneous
from start_training.theory.mean_length import log_mean_length, log_mean_length_residual
from tests.theory.by_hand import LINEAR

LAYERS = st.lists(st.tuples(st.floats(0.1, 5), st.one_of(st.just(0.0), st.floats(0, 3))), min_size=1, max_size=6)
SLOPES = st.sampled_from([0.0, 0.3, 1.0])
MODULES = st.lists(st.floats(0.01, 2), min_size=1, max_size=6)


@given(LAYERS, st.floats(-5, 5), SLOPES)
def test_the_mean_length_of_layers_agrees_with_the_recursion_without_logs(layers, log_input, slope):
    (kappas, biases), length, expected = zip(*layers, strict=True), math.exp(log_input), []
    for kappa, bias in layers:
        length = (1 + slope**2) / 2 * (kappa * length + bias)
        expected.append(length)
    predicted = log_mean_length(kappas, biases, log_input_length=log_input, activation=Homogeneous(slope))
    np.testing.assert_allclose(np.exp(predicted), expected, rtol=1e-11)


@given(MODULES, LAYERS, st.floats(-5, 5), SLOPES, SLOPES)
def test_the_mean_length_of_modules_agrees_with_the_recursion_without_logs(scales, layers, log_input, slope, last):
    (kappas, biases), length, mean, expected = zip(*layers, strict=True), math.exp(log_input), 0.0, []
    for eta in scales:
        second, z = 1.0, length
        for kappa, bias in layers:  # E φ² of the layer before, then E z²
            z, second = kappa * second * z + bias, (1 + slope**2) / 2
        push = eta * (1 - last) / math.sqrt(2 * math.pi) * math.sqrt(z)
        length, mean = length + eta**2 * (1 + last**2) / 2 * z + 2 * mean * push, mean + push
        expected.append(length)
    phi = {"activation": Homogeneous(slope), "ending": Homogeneous(last)}
    predicted = log_mean_length_residual(scales, kappas, biases, log_input_length=log_input, **phi)
    np.testing.assert_allclose(np.exp(predicted), expected, rtol=1e-10)


@pytest.mark.parametrize("kappa", [4.0, 0.3])
def test_deep_nets_do_not_overflow(kappa):
    layers = np.arange(1, 2501)  # the length of the last layer overflows or underflows in float64
    np.testing.assert_allclose(log_mean_length(np.full(2500, kappa)), layers * math.log(kappa / 2), rtol=1e-10)
    residual = log_mean_length_residual([1.0] * 2500, kappa, log_input_length=-1000.0, ending=LINEAR)
    np.testing.assert_allclose(residual, layers * math.log1p(kappa) - 1000, rtol=1e-10)


def test_the_mean_length_is_bounded_if_the_sum_of_scales_is():
    geometric = log_mean_length_residual([0.9**layer for layer in range(1, 201)], 2.0)
    assert math.exp(geometric[-1]) > 1000  # bounded, but large
    assert geometric[-1] - geometric[99] < 1e-3
    constant = log_mean_length_residual([0.5] * 200, 2.0)
    assert constant[-1] - constant[99] > 20


@pytest.mark.parametrize("log_input_length", [-math.inf, -800.0, 800.0])
def test_residual_nets_accept_inputs_of_length_0_and_of_any_magnitude(log_input_length):
    long, dead = log_input_length > 0, log_input_length == -math.inf
    predicted = log_mean_length_residual([1.0, 0.5], 2.0, 0.3, log_input_length=log_input_length)
    without = log_mean_length_residual([1.0, 0.5], 2.0, log_input_length=log_input_length)
    from_one = log_mean_length_residual([1.0, 0.5], 2.0)
    first, z = 0.15, 0.6
    second = first + 0.25 * z / 2 + math.sqrt(z * 0.3) / (2 * math.pi)
    np.testing.assert_allclose(predicted, 800 + from_one if long else np.log([first, second]), rtol=1e-12)
    np.testing.assert_array_equal(without, [-math.inf] * 2) if dead else np.testing.assert_allclose(
        without, log_input_length + from_one, rtol=1e-12
    )


def test_a_number_is_one_layer_and_an_empty_list_is_no_layer():
    np.testing.assert_allclose(log_mean_length(1.0), [math.log(0.5)])
    assert log_mean_length([]).shape == (0,)


@pytest.mark.parametrize("predict", [log_mean_length, lambda *law: log_mean_length_residual([1.0], *law)])
def test_impossible_variances_are_errors(predict):
    for kappas in [2.0, 0.0], [-1.0], [math.nan]:
        with pytest.raises(ValueError, match=r"^kappas = \[.*\]: all kappas must be positive"):
            predict(kappas)
    for bias in -0.1, math.nan:
        with pytest.raises(ValueError, match=r"^bias_variances = \[.*\]: all variances must be at least 0"):
            predict([2.0], bias)
