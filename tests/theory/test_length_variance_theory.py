"""The relative variance of the length, against moments computed in the plain domain and averages over all weights."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.theory.activation import Homogeneous
from src.theory.length_variance import log_moment_ratio, log_moment_ratio_bounds, log_moment_ratio_orthogonal
from tests.theory.by_hand import LEAKY, LINEAR, RELU, leaky

WIDTHS, KAPPAS, BIASES = [4, 7, 3, 9], [2.0, 0.7, 3.0, 1.1], [0.3, 0.0, 1.2, 0.05]
MOMENTS = [0.9, 0.5, 0.3, 0.6]
SLOPES = st.sampled_from([0.0, 0.3, 1.0])


def ratios_by_recursion(length, kurtosis, bias_kurtosis, phi, biases):
    """E[M²] / E[M]² from E[M] and E[M²], and the moments of each pre-activation z given by them."""
    mean, square, ratios = length, length**2, []
    for n, kappa, bias, moment in zip(WIDTHS, KAPPAS, biases, MOMENTS, strict=True):
        z2 = kappa * mean + bias  # E[z²]
        z22 = kappa**2 * square + 2 * kappa * bias * mean + bias**2  # E[E[z² | x]²]
        z4 = 3 * z22 + (kurtosis - 3) * kappa**2 * moment * square + (bias_kurtosis - 3) * bias**2
        mean, square = phi.second * z2, (phi.fourth * z4 + (n - 1) * phi.second**2 * z22) / n
        ratios.append(square / mean**2)
    return ratios


@given(st.floats(1, 9), st.floats(1, 9), st.floats(-2, 2), SLOPES, st.sampled_from([BIASES, [0.0] * 4]))
def test_moments_follow_the_recursion_in_the_plain_domain(kurtosis, bias_kurtosis, log_input, slope, biases):
    phi = Homogeneous(slope)
    expected = ratios_by_recursion(math.exp(log_input), kurtosis, bias_kurtosis, phi, biases)
    settings = {"kurtosis": kurtosis, "bias_kurtosis": bias_kurtosis, "fourth_moments": MOMENTS}
    predicted = log_moment_ratio(WIDTHS, KAPPAS, biases, **settings, log_input_length=log_input, activation=phi)
    np.testing.assert_allclose(np.exp(predicted), expected, rtol=1e-12)


def test_gaussian_layers_multiply_by_one_plus_five_over_n_or_two():
    np.testing.assert_allclose(np.exp(log_moment_ratio(WIDTHS)), np.cumprod([1 + 5 / n for n in WIDTHS]), rtol=1e-14)
    linear = log_moment_ratio(WIDTHS, activation=LINEAR)
    np.testing.assert_allclose(np.exp(linear), np.cumprod([1 + 2 / n for n in WIDTHS]), rtol=1e-14)
    assert math.expm1(log_moment_ratio([60] * 60)[-1]) == pytest.approx(120.8, abs=0.1)  # width and depth sixty


@pytest.mark.parametrize("x", [[1.0, 2.0, 3.5], [1.0, 0.0, 0.0], [1.0, 1.0]], ids=str)
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_sign_weights_of_kurtosis_one_by_enumeration(x, slope):
    x, phi = np.array(x), Homogeneous(slope)
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=len(x) * 3))).reshape(-1, 3, len(x))
    lengths = (leaky(signs @ x, slope) ** 2).mean(1)
    expected = math.log((lengths**2).mean() / lengths.mean() ** 2)
    share = (x**4).sum() / (x**2).sum() ** 2
    predicted = log_moment_ratio([3], kurtosis=1, fourth_moments=[share], activation=phi)[0]
    assert predicted == pytest.approx(expected, rel=1e-12)
    lower, upper = log_moment_ratio_bounds([3], [len(x)], kurtosis=1, activation=phi)
    assert lower[0] - 1e-12 <= expected <= upper[0] + 1e-12


@given(st.floats(1, 9), st.sampled_from([0.0, 0.4]))
def test_bounds_are_reached_by_alike_and_by_single_entries(kurtosis, bias):
    fan_ins, law = [5, *WIDTHS[:-1]], (KAPPAS, bias)
    settings = {"kurtosis": kurtosis, "bias_kurtosis": 2.0, "log_input_length": 1.5, "activation": LEAKY}
    bounds = log_moment_ratio_bounds(WIDTHS, fan_ins, *law, **settings)
    alike = log_moment_ratio(WIDTHS, *law, fourth_moments=1 / np.array(fan_ins), **settings)
    single = log_moment_ratio(WIDTHS, *law, fourth_moments=np.ones(4), **settings)
    np.testing.assert_allclose(bounds, np.sort([alike, single], axis=0), rtol=1e-13)


def test_bounds_of_gaussian_weights_are_one():
    lower, upper = log_moment_ratio_bounds(WIDTHS, [5, *WIDTHS[:-1]], KAPPAS, BIASES)
    np.testing.assert_array_equal(lower, upper)
    np.testing.assert_array_equal(lower, log_moment_ratio(WIDTHS, KAPPAS, BIASES, log_input_length=0.0))


@pytest.mark.parametrize("kappa", [4.0, 0.3])
@pytest.mark.parametrize("log_input_length", [0.0, -3000.0, 3000.0])
def test_no_depth_overflows(kappa, log_input_length):
    predicted = log_moment_ratio([200] * 2000, kappa, log_input_length=log_input_length)
    np.testing.assert_allclose(predicted, np.arange(1, 2001) * math.log1p(5 / 200), rtol=1e-10)
    assert np.isfinite(log_moment_ratio([200] * 2000, kappa, 0.5, log_input_length=log_input_length)).all()


def test_on_a_plateau_that_biases_feed_the_variance_ends():
    ratios = log_moment_ratio([50] * 200, 1 / 3, 1 / 150)
    assert ratios[-1] - ratios[50] == pytest.approx(0, abs=1e-12)
    dead_input = log_moment_ratio([50], 1 / 3, 1 / 150, log_input_length=-math.inf)
    assert dead_input[0] == pytest.approx(math.log1p(5 / 50))


def uniform_directions(size, rows, nodes=720):
    """Some coordinates of a uniform direction in the plane or in space, and weights that average over it."""
    turns = (np.arange(nodes) + 0.5) * 2 * np.pi / nodes
    if size == 2:
        return np.stack([np.cos(turns), np.sin(turns)], -1)[:, :rows], np.full(nodes, 1 / nodes)
    heights, weights = np.polynomial.legendre.leggauss(20)
    across = np.sqrt(1 - heights**2)[:, None]
    points = np.stack([across * np.cos(turns), across * np.sin(turns), heights[:, None] + 0 * turns], -1)
    return points.reshape(-1, 3)[:, :rows], np.repeat(weights, nodes) / (2 * nodes)


@pytest.mark.parametrize("fan_in, width", [(2, 2), (3, 3), (3, 2), (2, 3), (3, 1), (1, 3)])
@pytest.mark.parametrize("phi", [LINEAR, LEAKY, RELU], ids=["linear", "leaky", "relu"])
def test_orthogonal_layers_by_integration_over_the_sphere(fan_in, width, phi):
    points, weights = uniform_directions(max(fan_in, width), width)
    lengths = (leaky(points, phi.negative_slope) ** 2).mean(1)
    # a kink of φ(u)² between nodes costs the sum over heights some digits
    expected = math.log(weights @ lengths**2 / (weights @ lengths) ** 2)
    predicted = log_moment_ratio_orthogonal([width, width], [fan_in, fan_in], activation=phi)
    assert predicted == pytest.approx([expected, 2 * expected], abs=2e-4)


def test_a_square_orthogonal_layer_multiplies_by_one_plus_three_over_n_plus_two():
    np.testing.assert_allclose(log_moment_ratio_orthogonal([8], [8]), math.log1p(3 / 10), rtol=1e-14)
    thin = log_moment_ratio_orthogonal([8], [10**9])
    assert thin[0] == pytest.approx(log_moment_ratio([8])[0], rel=1e-7)  # few rows of a large matrix are normal


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([20, 0],), r"widths = \[20\.0, 0\.0\]: a width must be positive"),
        (([20], -1.0), r"kappas = \[-1\.0\]: a weight variance must be positive"),
        (([20], 2.0, -0.1), r"bias_variances = \[-0\.1\]: a variance must not be negative"),
    ],
)
def test_impossible_layers_are_mistakes(arguments, message):
    for predict in log_moment_ratio, lambda widths, *law: log_moment_ratio_bounds(widths, [20], *law):
        with pytest.raises(ValueError, match=f"^{message}"):
            predict(*arguments)
    with pytest.raises(ValueError, match=r"^kurtosis = 1\.8: weights that are not Gaussian need fourth_moments"):
        log_moment_ratio([20], kurtosis=1.8)
