"""The moment ratio of residual nets, against quadrature over all weights and finite differences."""

import itertools
import math

import numpy as np
import pytest

from start_training.theory.activation import Homogeneous
from start_training.theory.length_variance_residual import log_moment_ratio_residual, log_moment_ratio_residual_linear
from tests.theory.by_hand import LEAKY, LINEAR, RELU, Z, gaussian_mean, leaky

SCALES, KAPPAS = [1.0, 0.5, 0.8, 0.3], [2.0, 1.2, 3.0]
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(6)  # for a standard normal, without a node at the kink 0
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def moments_by_quadrature(eta, length, width, module_widths, kappas, slope):
    """Compute E[M'] and E[M'²] after a module, given the length of its input.

    The quadrature is exact, because both are piecewise polynomials of the normal variables.
    """
    x, first, second = np.full(width, math.sqrt(length)), 0.0, 0.0
    for nodes in itertools.product(range(6), repeat=width + sum(module_widths)):
        g, mass, q = NODES[list(nodes)], WEIGHTS[list(nodes)].prod(), length
        for n, kappa in zip([*module_widths, width], kappas, strict=True):
            z, g = math.sqrt(kappa * q) * g[:n], g[n:]
            q = (leaky(z, slope) ** 2).mean()
        new = ((x + eta * z) ** 2).mean()
        first, second = first + mass * new, second + mass * new**2
    return first, second


def covariance_by_finite_differences(scales, width, module_widths, kappas, phi, hidden):
    """Compute Var M / M² after each module by propagating the covariance of (M, m, Q) with numerical derivatives."""

    mean, second, third, fourth = (gaussian_mean(leaky(Z, phi.negative_slope) ** power) for power in (1, 2, 3, 4))
    gain = np.prod(kappas) * hidden.second ** len(module_widths)
    of_gain = np.prod([1 + (3 * hidden.fourth / hidden.second**2 - 1) / n for n in module_widths]) - 1

    def step(state, eta):
        length, m, q = state
        s = math.sqrt(q * gain * length)
        return np.array([length + 2 * eta * m * s * mean + eta**2 * s**2 * second, m + eta * s * mean])

    state, covariance, ratios = np.array([1.0, 0.0]), np.diag([0, 1 / width]), []
    for eta in scales:
        length, m = state
        s, at = math.sqrt(gain * length), np.array([length, m, 1.0])
        slopes = [(step(at + h, eta) - step(at - h, eta)) / 2e-5 for h in 1e-5 * np.eye(3)]
        # a unit of activation a gets a² + 2 eta a φ + eta² φ²; over units a has mean m and mean square M
        along, across = s**2 * (second - mean**2), s**3 * (third - second * mean)
        square = s**4 * (fourth - second**2)
        cross = 2 * eta**2 * m * along + eta**3 * across
        longest = 4 * eta**2 * length * along + 4 * eta**3 * m * across + eta**4 * square
        noise = np.array([[longest, cross], [cross, eta**2 * along]]) / width
        joint = np.block([[covariance, np.zeros((2, 1))], [np.zeros((1, 2)), of_gain]])
        covariance = np.transpose(slopes) @ joint @ slopes + noise
        state = step(at, eta)
        ratios.append(covariance[0, 0] / state[0] ** 2)
    return ratios


@pytest.mark.parametrize("width, module_widths", [(3, ()), (2, (1,)), (1, (1, 2))])
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_the_exact_ratio_of_linear_endings_agrees_with_quadrature(width, module_widths, slope):
    kappas, expected = KAPPAS[: len(module_widths) + 1], []
    for eta in SCALES[:2]:
        first, second = moments_by_quadrature(eta, 1.7, width, module_widths, kappas, slope)
        expected.append(math.log(second / first**2))
    predicted = log_moment_ratio_residual_linear(
        SCALES[:2], width, module_widths, kappas, activation=Homogeneous(slope)
    )
    np.testing.assert_allclose(predicted, np.cumsum(expected), rtol=1e-10)


@pytest.mark.parametrize("module_widths", [(), (40,), (40, 25)], ids=str)
@pytest.mark.parametrize("ending, hidden", [(RELU, RELU), (LEAKY, RELU), (LINEAR, LEAKY)])
def test_the_ratio_of_wide_modules_agrees_with_finite_differences(ending, hidden, module_widths):
    kappas = KAPPAS[: len(module_widths) + 1]
    predicted = log_moment_ratio_residual(SCALES, 50, module_widths, kappas, activation=hidden, ending=ending)
    expected = covariance_by_finite_differences(SCALES, 50, module_widths, kappas, ending, hidden)
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)


@pytest.mark.parametrize("module_widths", [(), (10**6,)], ids=str)
def test_both_formulas_agree_for_wide_modules_with_linear_endings(module_widths):
    settings = ([0.7] * 30, 10**6, module_widths)
    exact = log_moment_ratio_residual_linear(*settings)
    np.testing.assert_allclose(log_moment_ratio_residual(*settings, ending=LINEAR), exact, rtol=1e-4)


@pytest.mark.parametrize("predict", [log_moment_ratio_residual, log_moment_ratio_residual_linear])
def test_the_ratio_is_bounded_if_the_sum_of_scales_is_and_else_grows_by_a_constant(predict):
    for scales, last in ([0.9**layer for layer in range(1, 401)], 1e-6), ([1 / 400] * 400, 2e-2):
        ratios = predict(scales, 20, (20,))
        assert ratios[-1] < 2
        assert ratios[-1] - ratios[-5] < last
    for kappa in 4.0, 0.3:
        shares = np.diff(predict([1.0] * 1000, 200, (200,), kappa))
        np.testing.assert_allclose(shares[500:], shares[-1], rtol=1e-6)
        assert shares[-1] > 4e-4
