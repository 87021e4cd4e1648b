"""The laws of whole fully connected and residual nets, against closed forms and the verdicts of the paper."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from start_training.theory.fully_connected import FullyConnectedLaw
from start_training.theory.length_variance import log_moment_ratio_bounds, log_moment_ratio_orthogonal
from start_training.theory.length_variance_residual import log_moment_ratio_residual, log_moment_ratio_residual_linear
from start_training.theory.mean_length import log_mean_length, log_mean_length_residual
from start_training.theory.residual import ResidualLaw
from start_training.theory.verdict import FM1, FM2
from tests.theory.by_hand import LEAKY, LINEAR, RELU


def plain(kappa=2.0, *, depth=5, width=7, bias=0.0, kurtosis=3.0, activation=RELU, **settings):
    kappas, biases, kurtoses = (np.full(depth, value) for value in (kappa, bias, kurtosis))
    fan_ins, widths = (np.full(depth, float(n)) for n in (width + 1, width))
    return FullyConnectedLaw(fan_ins, widths, kappas, biases, kurtoses, activation, **settings)


def torch_default(depth, width, **settings):
    return plain(1 / 3, depth=depth, width=width, bias=1 / (3 * width), kurtosis=1.8, **settings)


def residual(scales, *, width=100, module_widths=(), ending=RELU, bias=0.0, activation=RELU):
    kappas, biases, kurtosis = (np.full(len(module_widths) + 1, value) for value in (2.0, bias, 3.0))
    return ResidualLaw(np.array(scales), width, module_widths, kappas, biases, kurtosis, activation, ending)


def test_a_fully_connected_law_evaluates_the_closed_forms_of_its_architecture():
    law = plain(1 / 3, bias=0.1, kurtosis=1.8, activation=LEAKY)
    kappas, biases, widths, fan_ins = [1 / 3] * 5, [0.1] * 5, [7] * 5, [8] * 5
    phi = {"log_input_length": 2.0, "activation": LEAKY}
    np.testing.assert_array_equal(law.log_mean_length(2.0), log_mean_length(kappas, biases, **phi))
    expected = log_moment_ratio_bounds(widths, fan_ins, kappas, biases, kurtosis=1.8, bias_kurtosis=1.8, **phi)
    np.testing.assert_array_equal(law.log_moment_ratio(2.0), expected)
    orthogonal = plain(orthogonal=True, activation=LEAKY)
    expected = log_moment_ratio_orthogonal(widths, fan_ins, activation=LEAKY)
    np.testing.assert_array_equal(orthogonal.log_moment_ratio(), [expected] * 2)
    assert [net.gaussian for net in (law, orthogonal, plain())] == [False, False, True]
    assert law.beta == pytest.approx(5 / 7)


def test_dropout_multiplies_kappa_from_the_second_layer_on():
    law = plain(dropout=0.75)
    np.testing.assert_allclose(law.log_mean_length(), np.arange(5) * math.log(4), atol=1e-12)
    assert law.verdict().backward == pytest.approx(math.log(4))
    assert law.log_moment_ratio() is None
    assert plain(orthogonal=True, bias=0.1).log_moment_ratio() is None
    one_bias = replace(plain(orthogonal=True), bias_variances=np.array([0, 0, 0.1, 0, 0]))
    assert one_bias.log_moment_ratio() is None


@pytest.mark.parametrize(
    "law, modes",
    [
        (plain(depth=100, width=100), ()),
        (plain(depth=60, width=60), ()),
        (plain(depth=100, width=10), (FM2,)),
        (torch_default(50, 50), (FM1,)),
        (torch_default(3, 50), ()),
        (plain(2 * 0.7737, depth=60, width=60), (FM1,)),  # cut at two deviations
        (plain(2 * 0.7737, depth=10, width=60), ()),
        (plain(4.0, depth=60, width=60), (FM1,)),
        (plain(1.0, depth=100, width=10), (FM1, FM2)),
        (plain(1.0, depth=60, width=60, activation=LINEAR), ()),
        (plain(2.0, depth=60, width=60, activation=LINEAR), (FM1,)),
        (residual([1.0] * 50), (FM1,)),
        (residual([0.1] * 200), (FM1,)),
        (residual(0.9 ** np.arange(1, 501), module_widths=(100,)), ()),
        (residual([1 / 1000] * 1000), ()),
        (residual(np.arange(1, 2001) ** -0.75), (FM1,)),  # Σ eta grows as L^(1/4), Σ eta² is bounded
        (residual(np.arange(1, 2001) ** -0.75, ending=LINEAR), ()),
    ],
)
def test_the_verdict_agrees_with_the_paper(law, modes):
    assert law.verdict().failure_modes == modes


def test_torch_default_fails_by_its_gradients_although_biases_keep_lengths_constant():
    for log_input in 0.0, 10.0:
        seen = torch_default(50, 50).verdict(log_input_length=log_input)
        assert (seen.forward, seen.starts) == (pytest.approx(0, abs=1e-9), 0)
        assert seen.backward == pytest.approx(math.log(1 / 6))
        assert seen.drift == pytest.approx(-50 * math.log(6))
        assert seen.total == pytest.approx(math.log(1 / 250) - log_input, rel=1e-9)


def test_only_relu_nets_without_biases_can_die():
    seen = plain(depth=100, width=10).verdict()
    assert seen.dead == pytest.approx(1 - (1 - binom.pmf(10, 10, 0.5)) ** 100)
    assert seen.spread == pytest.approx(10)
    assert torch_default(100, 2).verdict().dead == plain(depth=100, width=2, activation=LEAKY).verdict().dead == 0


def test_a_residual_law_evaluates_the_closed_forms_of_its_architecture():
    scales, shape = [0.7] * 4, (9, (6,), [2.0, 2.0])
    for hidden, ending in (RELU, RELU), (LEAKY, RELU), (RELU, LEAKY), (LEAKY, LINEAR):
        law = residual(scales, width=9, module_widths=(6,), ending=ending, activation=hidden)
        phi, exact = {"activation": hidden, "ending": ending}, {"activation": hidden}
        to_first_order = log_moment_ratio_residual(scales, *shape, **phi)
        ratio = log_moment_ratio_residual_linear(scales, *shape, **exact) if ending == LINEAR else to_first_order
        np.testing.assert_array_equal(law.log_moment_ratio(), [ratio] * 2)
        expected = log_mean_length_residual(scales, [2.0, 2.0], log_input_length=3.0, **phi)
        np.testing.assert_array_equal(law.log_mean_length(3.0), expected)
        seen = law.verdict()
        assert seen.spread == pytest.approx(to_first_order[-1] / 5) and seen.dead == 0
        assert seen.backward == pytest.approx(math.log1p(0.49 * 4 * hidden.second * ending.second))
    for other in ({"kurtosis": np.array([3.0, 1.8])}, {"orthogonal": True}, {"bias_variances": np.array([0.0, 0.1])}):
        assert replace(law, **other).log_moment_ratio() is None
        assert replace(law, **other).gaussian == ("bias_variances" in other)
    with_biases = residual(scales, bias=0.1).log_mean_length()
    np.testing.assert_array_equal(with_biases, log_mean_length_residual(scales, [2.0], [0.1]))


def test_the_spread_of_modules_with_a_negligible_skip_connection_is_that_of_layers():
    law = residual([1e4] * 3, width=200, ending=LINEAR)  # the identity is negligible
    assert law.verdict().spread == pytest.approx(3 * 2 / 200 / 5, rel=1e-6)


@pytest.mark.parametrize("law", [plain(depth=30, width=50), residual([0.3] * 30)], ids=lambda law: type(law).__name__)
def test_without_biases_the_verdict_does_not_depend_on_a_positive_input_length(law):
    one, other = law.verdict(), law.verdict(log_input_length=50.0)
    assert (other.total, other.drift) == (pytest.approx(one.total, abs=1e-9), pytest.approx(one.drift, abs=1e-9))
    assert law.verdict(log_input_length=-math.inf).failure_modes == (FM1,)  # and no warning


@pytest.mark.parametrize(
    "law", [torch_default(5, 7), residual([0.5] * 3, bias=0.1)], ids=lambda law: type(law).__name__
)
def test_the_default_input_length_is_1(law):
    np.testing.assert_array_equal(law.log_mean_length(), law.log_mean_length(0.0))
    assert law.verdict() == law.verdict(log_input_length=0.0) != law.verdict(log_input_length=0.5)
    if isinstance(law, FullyConnectedLaw):
        np.testing.assert_array_equal(law.log_moment_ratio(), law.log_moment_ratio(0.0))
