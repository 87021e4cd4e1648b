"""The moment ratio of fully connected nets, against moments without logs and moments of the sphere."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from start_training.theory.activation import Homogeneous
from start_training.theory.length_variance import log_moment_ratio, log_moment_ratio_bounds, log_moment_ratio_orthogonal
from tests.theory.by_hand import LEAKY, LINEAR, RELU

WIDTHS, KAPPAS, BIASES = [4, 7, 3, 9], [2.0, 0.7, 3.0, 1.1], [0.3, 0.0, 1.2, 0.05]
MOMENTS = [0.9, 0.5, 0.3, 0.6]
SLOPES = st.sampled_from([0.0, 0.3, 1.0])


def ratios_by_recursion(length, kurtosis, bias_kurtosis, phi, biases):
    """Compute E[M²] / E[M]² of each layer by a recursion of E[M], E[M²] and the moments of pre-activations z."""
    mean, square, ratios = length, length**2, []
    for n, kappa, bias, moment in zip(WIDTHS, KAPPAS, biases, MOMENTS, strict=True):
        z2 = kappa * mean + bias  # E[z²]
        z22 = kappa**2 * square + 2 * kappa * bias * mean + bias**2  # E[E[z² | x]²]
        z4 = 3 * z22 + (kurtosis - 3) * kappa**2 * moment * square + (bias_kurtosis - 3) * bias**2
        mean, square = phi.second * z2, (phi.fourth * z4 + (n - 1) * phi.second**2 * z22) / n
        ratios.append(square / mean**2)
    return ratios


@given(st.floats(1, 9), st.floats(1, 9), st.floats(-2, 2), SLOPES, st.sampled_from([BIASES, [0.0] * 4]))
def test_the_ratio_agrees_with_a_recursion_of_moments_without_logs(kurtosis, bias_kurtosis, log_input, slope, biases):
    phi = Homogeneous(slope)
    expected = ratios_by_recursion(math.exp(log_input), kurtosis, bias_kurtosis, phi, biases)
    settings = {"kurtosis": kurtosis, "bias_kurtosis": bias_kurtosis, "fourth_moments": MOMENTS}
    predicted = log_moment_ratio(WIDTHS, KAPPAS, biases, **settings, log_input_length=log_input, activation=phi)
    np.testing.assert_allclose(np.exp(predicted), expected, rtol=1e-12)


def test_gaussian_layers_multiply_the_ratio_by_1_plus_5_over_n_or_2_over_n():
    np.testing.assert_allclose(np.exp(log_moment_ratio(WIDTHS)), np.cumprod([1 + 5 / n for n in WIDTHS]), rtol=1e-14)
    linear = log_moment_ratio(WIDTHS, activation=LINEAR)
    np.testing.assert_allclose(np.exp(linear), np.cumprod([1 + 2 / n for n in WIDTHS]), rtol=1e-14)
    assert math.expm1(log_moment_ratio([60] * 60)[-1]) == pytest.approx(120.8, abs=0.1)  # width and depth sixty


@given(st.floats(1, 9), st.sampled_from([0.0, 0.4]))
def test_bounds_are_attained_by_equal_entries_and_by_a_single_entry(kurtosis, bias):
    fan_ins, law = [5, *WIDTHS[:-1]], (KAPPAS, bias)
    settings = {"kurtosis": kurtosis, "bias_kurtosis": 2.0, "log_input_length": 1.5, "activation": LEAKY}
    bounds = log_moment_ratio_bounds(WIDTHS, fan_ins, *law, **settings)
    alike = log_moment_ratio(WIDTHS, *law, fourth_moments=1 / np.array(fan_ins), **settings)
    single = log_moment_ratio(WIDTHS, *law, fourth_moments=np.ones(4), **settings)
    np.testing.assert_allclose(bounds, np.sort([alike, single], axis=0), rtol=1e-13)


def test_both_bounds_are_equal_for_gaussian_weights():
    lower, upper = log_moment_ratio_bounds(WIDTHS, [5, *WIDTHS[:-1]], KAPPAS, BIASES)
    np.testing.assert_array_equal(lower, upper)
    np.testing.assert_array_equal(lower, log_moment_ratio(WIDTHS, KAPPAS, BIASES, log_input_length=0.0))


@pytest.mark.parametrize("kappa", [4.0, 0.3])
@pytest.mark.parametrize("log_input_length", [0.0, -3000.0, 3000.0])
def test_deep_nets_do_not_overflow(kappa, log_input_length):
    predicted = log_moment_ratio([200] * 2000, kappa, log_input_length=log_input_length)
    np.testing.assert_allclose(predicted, np.arange(1, 2001) * math.log1p(5 / 200), rtol=1e-10)
    assert np.isfinite(log_moment_ratio([200] * 2000, kappa, 0.5, log_input_length=log_input_length)).all()


def test_the_ratio_stops_growing_if_biases_keep_lengths_constant():
    ratios = log_moment_ratio([50] * 200, 1 / 3, 1 / 150)
    assert ratios[-1] - ratios[50] == pytest.approx(0, abs=1e-12)
    dead_input = log_moment_ratio([50], 1 / 3, 1 / 150, log_input_length=-math.inf)
    assert dead_input[0] == pytest.approx(math.log1p(5 / 50))


@pytest.mark.parametrize("fan_in, n", [(2, 2), (9, 2), (3, 1), (1, 3), (4, 7)])
@pytest.mark.parametrize("phi", [LINEAR, LEAKY, RELU], ids=["linear", "leaky", "relu"])
def test_the_ratio_of_orthogonal_layers_agrees_with_moments_of_the_sphere(fan_in, n, phi):
    # For N coordinates of a random unit vector, u² is Beta(1/2, (N − 1)/2) and a sum of n squares Beta(n/2, (N − n)/2).
    longer = max(fan_in, n)
    one, sum_squared = beta(1 / 2, (longer - 1) / 2).moment(2), beta(n / 2, (longer - n) / 2 or 1e-15).moment(2)
    slopes = np.array([1, phi.negative_slope**2])  # of φ(u)², each with probability 1/2
    second = n * (slopes**2).mean() * one + (sum_squared - n * one) * slopes.mean() ** 2
    expected = math.log(second / (n * slopes.mean() / longer) ** 2)
    predicted = log_moment_ratio_orthogonal([n, n], [fan_in, fan_in], activation=phi)
    np.testing.assert_allclose(predicted, [expected, 2 * expected], rtol=1e-9, atol=1e-11)
    if fan_in == n:
        assert log_moment_ratio_orthogonal([n], [n])[0] == pytest.approx(math.log1p(3 / (n + 2)))


def test_weights_that_are_not_gaussian_require_fourth_moments():
    with pytest.raises(
        ValueError, match=r"^kurtosis = 1\.8: must be 3 \(Gaussian weights\) if fourth_moments is not given"
    ):
        log_moment_ratio([20], kurtosis=1.8)
