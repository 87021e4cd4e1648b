"""The mean length's closed forms, against the recursions of the paper written out in the plain domain."""

import math

import numpy as np
import pytest
from scipy.integrate import trapezoid

from src.theory.activation import LINEAR, RELU, Homogeneous
from src.theory.mean_length import log_mean_length, log_mean_length_residual

LEAKY = Homogeneous(0.3)


def lengths_by_recursion(kappas, biases, length, second=0.5):
    lengths = []
    for kappa, bias in zip(kappas, biases, strict=True):
        length = second * (kappa * length + bias)
        lengths.append(length)
    return np.array(lengths)


def critical_residual_lengths(scales, length=1.0):
    """The recursion for critical single-layer ReLU modules, in M and m as they stand in PAPERS.md."""
    mean, lengths = 0.0, []
    for eta in scales:
        length, mean = (
            length * (1 + eta**2) + 2 * eta * mean * math.sqrt(length / math.pi),
            mean + eta * math.sqrt(length / math.pi),
        )
        lengths.append(length)
    return np.array(lengths)


def gaussian_mean(function):
    """E[function(z)] of a standard normal z, by the trapezoidal rule with a node at the kink."""
    z = np.linspace(-12, 12, 240_001)
    return trapezoid(function(z) * np.exp(-(z**2) / 2), z) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize(
    "moments, activation",
    [
        (RELU, lambda z: np.maximum(z, 0)),
        (LINEAR, lambda z: z),
        (LEAKY, lambda z: np.where(z > 0, z, 0.3 * z)),
    ],
    ids=["relu", "linear", "leaky_relu"],
)
def test_moments_are_those_of_the_activation(moments, activation):
    assert moments.mean == pytest.approx(gaussian_mean(activation), abs=1e-7)
    assert moments.second == pytest.approx(gaussian_mean(lambda z: activation(z) ** 2), rel=1e-6)
    assert moments.third == pytest.approx(gaussian_mean(lambda z: activation(z) ** 3), abs=1e-6)
    assert moments.fourth == pytest.approx(gaussian_mean(lambda z: activation(z) ** 4) / 3, rel=1e-6)


def test_each_layer_multiplies_the_length_by_half_its_kappa():
    kappas = [2.0, 1.0, 0.5, 4.0, 3.0]
    expected = [1.0, 0.5, 0.125, 0.25, 0.375]
    np.testing.assert_allclose(np.exp(log_mean_length(kappas)), expected, rtol=1e-12)


@pytest.mark.parametrize("activation", [RELU, LINEAR, LEAKY])
def test_biases_add_their_variance(activation):
    kappas, biases = np.linspace(0.2, 3, 8), np.linspace(1, 0, 8)
    predicted = log_mean_length(kappas, biases, log_input_length=math.log(7), activation=activation)
    expected = lengths_by_recursion(kappas, biases, 7.0, activation.second)
    np.testing.assert_allclose(np.exp(predicted), expected, rtol=1e-12)


@pytest.mark.parametrize("log_input_length", [0.0, 20.0, -20.0, -math.inf])
def test_lengths_end_on_the_plateau_that_biases_feed(log_input_length):
    n = 50
    kappas, bias = np.full(40, 1 / 3), 1 / (3 * n)
    predicted = log_mean_length(kappas, bias, log_input_length=log_input_length)
    assert math.exp(predicted[-1]) == pytest.approx(bias / (2 - 1 / 3), rel=1e-9)
    assert math.exp(predicted[-1]) == pytest.approx(1 / (5 * n), rel=1e-9)


@pytest.mark.parametrize("kappa", [4.0, 0.3])
def test_no_depth_overflows(kappa):
    depth = 2000
    assert depth * abs(math.log(kappa / 2)) > 745  # the length itself is beyond float64
    layers = np.arange(1, depth + 1)
    np.testing.assert_allclose(log_mean_length(np.full(depth, kappa)), layers * math.log(kappa / 2), rtol=1e-10)


def test_without_biases_the_input_length_is_a_factor():
    kappas = [1.0, 3.0, 0.7]
    shifted = log_mean_length(kappas, log_input_length=5.0) - log_mean_length(kappas)
    np.testing.assert_allclose(shifted, 5.0, rtol=1e-12)
    assert (log_mean_length(kappas, log_input_length=-math.inf) == -math.inf).all()


def test_one_kappa_is_one_layer_and_none_is_no_layer():
    np.testing.assert_allclose(log_mean_length(1.0), [math.log(0.5)])
    assert log_mean_length([]).shape == (0,)


@pytest.mark.parametrize("scales", [[0.9**layer for layer in range(1, 60)], [1.0] * 40, [1 / 30] * 30, [0.5]])
def test_critical_single_layer_modules_follow_the_paper(scales):
    predicted = np.exp(log_mean_length_residual(scales, 2.0))
    np.testing.assert_allclose(predicted, critical_residual_lengths(scales), rtol=1e-12)
    uncorrelated = np.cumprod([1 + eta**2 for eta in scales])
    assert (predicted[1:] > 1.0005 * uncorrelated[1:]).all()  # the mean activation matters from the second module


def test_modules_ending_in_a_linear_layer_multiply_by_one_plus_two_eta_squared():
    scales = [0.9, 0.5, 2.0, 0.1]
    predicted = np.exp(log_mean_length_residual(scales, 2.0, ending=LINEAR))
    np.testing.assert_allclose(predicted, np.cumprod([1 + 2 * eta**2 for eta in scales]), rtol=1e-12)


def test_deeper_modules_with_biases_in_the_plain_domain():
    kappas, biases, length, mean = [1.2, 3.0, 0.7], [0.3, 0.0, 0.2], 5.0, 0.0
    predicted = log_mean_length_residual([0.8] * 6, kappas, biases, log_input_length=math.log(5), activation=LEAKY)
    for layer in range(6):
        z = kappas[1] * LEAKY.second * (kappas[0] * length + biases[0]) + biases[1]
        z = kappas[2] * LEAKY.second * z + biases[2]
        push = 0.8 / math.sqrt(2 * math.pi) * math.sqrt(z)
        length, mean = length + 0.64 * z / 2 + 2 * mean * push, mean + push
        assert math.exp(predicted[layer]) == pytest.approx(length, rel=1e-12)


def test_bounded_scales_settle_and_constant_ones_do_not():
    geometric = log_mean_length_residual([0.9**layer for layer in range(1, 201)], 2.0)
    assert math.exp(geometric[-1]) > 1000  # bounded, and large all the same
    assert geometric[-1] - geometric[99] < 1e-3
    constant = log_mean_length_residual([0.5] * 200, 2.0)
    assert constant[-1] - constant[99] > 20


def test_no_number_of_modules_overflows():
    predicted = log_mean_length_residual([1.0] * 2000, 2.0, ending=LINEAR)
    np.testing.assert_allclose(predicted, np.arange(1, 2001) * math.log(3), rtol=1e-10)


@pytest.mark.parametrize("log_input_length", [-math.inf, -800.0, 800.0])
def test_biases_revive_a_dead_residual_net_and_no_input_overflows(log_input_length):
    predicted = log_mean_length_residual([1.0, 0.5], 2.0, 0.3, log_input_length=log_input_length)
    if log_input_length < 0:
        first = 0.3 / 2
        push = 0.5 * math.sqrt((2 * first + 0.3) / (2 * math.pi))
        second = first + 0.25 * (2 * first + 0.3) / 2 + 2 * push * math.sqrt(0.3 / (2 * math.pi))
        np.testing.assert_allclose(np.exp(predicted), [first, second], rtol=1e-12)
    else:
        np.testing.assert_allclose(predicted[0] - 800, math.log(2), rtol=1e-12)


def test_a_dead_input_stays_dead_without_biases():
    assert (log_mean_length_residual([1.0, 0.5], 2.0, log_input_length=-math.inf) == -math.inf).all()


@pytest.mark.parametrize("kappas", [[2.0, 0.0], [-1.0], [math.nan]])
def test_a_kappa_that_is_not_positive_is_a_mistake(kappas):
    for predict in log_mean_length, lambda values: log_mean_length_residual([1.0], values):
        with pytest.raises(ValueError, match=r"^kappas = \[.*\]: a weight variance must be positive"):
            predict(kappas)


@pytest.mark.parametrize("bias", [-0.1, math.nan])
def test_a_negative_bias_variance_is_a_mistake(bias):
    for predict in log_mean_length, lambda *values: log_mean_length_residual([1.0], *values):
        with pytest.raises(ValueError, match=r"^bias_variances = \[.*\]: a variance must not be negative"):
            predict([2.0], bias)
