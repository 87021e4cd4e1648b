"""The verdict on rates one can read off, and on the architectures that the paper judges."""

import math
from dataclasses import replace

import numpy as np
import pytest

from src.initializers.initializer import Fans
from src.initializers.orthogonal import Orthogonal
from src.initializers.torch_default import TorchDefault
from src.initializers.variance_scaling import VarianceScaling
from src.models.residual_scales import residual_scales
from src.theory.activation import LINEAR, RELU
from src.theory.beta import beta
from src.theory.fully_connected import FullyConnectedLaw
from src.theory.length_variance import log_moment_ratio_bounds, log_moment_ratio_orthogonal
from src.theory.length_variance_residual import log_moment_ratio_residual, log_moment_ratio_residual_linear
from src.theory.mean_length import log_mean_length
from src.theory.residual import ResidualLaw
from src.theory.verdict import FM1, FM2, Thresholds, judge, onset

HE = VarianceScaling(2.0)
NONE = np.zeros(20)


def verdict(forward, backward=NONE, *, spread=0.0, dead=0.0, **settings):
    return judge(forward, backward, spread=spread, dead=dead, **settings)


def fully_connected(initializer, *, depth, width, activation=RELU, **settings):
    fans = [Fans(width, width)] * depth
    return FullyConnectedLaw(
        fan_ins=np.full(depth, float(width)),
        widths=np.full(depth, float(width)),
        kappas=initializer.kappas(fans),
        bias_variances=initializer.bias_variances(fans),
        kurtosis=initializer.kurtoses(fans),
        activation=activation,
        orthogonal=not initializer.independent,
        **settings,
    )


def residual(schedule, modules, *, width=100, module_widths=(), ending=RELU, bias=0.0, **parameters):
    layers = len(module_widths) + 1
    return ResidualLaw(
        scales=np.array(residual_scales(schedule, modules, **parameters)),
        width=width,
        module_widths=module_widths,
        kappas=np.full(layers, 2.0),
        bias_variances=np.full(layers, bias),
        kurtosis=np.full(layers, 3.0),
        activation=RELU,
        ending=ending,
    )


@pytest.mark.parametrize("rate", [0.5, -0.5])
def test_a_constant_rate_drifts_from_the_input_on(rate):
    seen = verdict(np.full(20, rate))
    assert seen.failure_modes == (FM1,)
    assert (seen.forward, seen.backward, seen.drift, seen.total) == (rate, 0, 20 * rate, 20 * rate)
    assert seen.starts == 0
    assert not seen.settles
    assert not seen.healthy


def test_a_drift_of_gradients_is_failure_mode_1_too():
    seen = verdict(NONE, np.full(20, -1.8))
    assert seen.failure_modes == (FM1,)
    assert seen.drift == pytest.approx(-36)
    assert (seen.forward, seen.total) == (0, 0)


@pytest.mark.parametrize("layers", [1, 2, 7])
@pytest.mark.parametrize("excess, modes", [(-0.01, ()), (0.01, (FM1,))])
def test_the_drift_threshold_is_nats_over_the_whole_net(layers, excess, modes):
    rates = np.full(layers, (9.2 + excess) / layers)
    assert verdict(rates, np.zeros(layers)).failure_modes == modes


def test_what_only_the_earlier_half_does_has_settled():
    rates = np.where(np.arange(20) < 10, 2.0, 0.0)
    seen = verdict(rates)
    assert seen.healthy
    assert seen.settles
    assert (seen.total, seen.drift, seen.starts) == (20, 0, None)
    assert not verdict(0.1 * rates).settles  # there was nothing to settle
    assert verdict(rates[::-1]).failure_modes == (FM1,)


def test_thresholds_move_the_verdict():
    rates = np.full(20, 0.3)
    assert verdict(rates, spread=2.0, dead=0.1).healthy
    assert verdict(rates, thresholds=Thresholds(drift=5)).failure_modes == (FM1,)
    assert verdict(NONE, spread=2.0, thresholds=Thresholds(beta=1)).failure_modes == (FM2,)
    assert verdict(NONE, dead=0.1, thresholds=Thresholds(dead=0.05)).failure_modes == (FM2,)
    assert verdict(3 * rates, spread=4.0).failure_modes == (FM1, FM2)
    assert verdict(NONE, dead=0.3).failure_modes == (FM2,)
    assert verdict(NONE, spread=math.nan).failure_modes == (FM2,)


def test_drift_counts_only_beyond_two_standard_errors():
    rates = np.full(20, 0.5)  # a drift of 10
    assert verdict(rates, error=0.39).failure_modes == (FM1,)
    assert verdict(rates, error=0.41).healthy


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf])
@pytest.mark.parametrize("layer", [0, 4, 19])
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_a_rate_that_is_not_finite_is_failure_mode_1(bad, layer, way):
    rates = NONE.copy()
    rates[layer] = bad
    seen = verdict(rates, NONE) if way == "forward" else verdict(NONE, rates)
    assert seen.failure_modes == (FM1,)
    assert seen.starts == layer


@pytest.mark.parametrize("start", range(20))
@pytest.mark.parametrize("rate", [0.7, -2.0])
def test_onset_is_where_a_rate_sets_in(start, rate):
    rates = np.where(np.arange(20) >= start, rate, 0.0)
    assert onset(rates) == start
    noise = 0.02 * np.random.default_rng(start).normal(size=20)
    assert abs(onset(rates + noise) - start) <= 1


def test_a_verdict_says_where_its_drift_sets_in():
    assert verdict(np.where(np.arange(20) >= 8, 2.0, 0.0)).starts == 8


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"drift": 0}, r"^drift = 0: must be a number above 0"),
        ({"beta": -1.0}, r"^beta = -1\.0: must be a number above 0"),
        ({"dead": 1}, r"^dead = 1: must be a fraction, at least 0 and below 1"),
    ],
)
def test_impossible_thresholds_are_mistakes(settings, message):
    with pytest.raises(ValueError, match=message):
        Thresholds(**settings)


@pytest.mark.parametrize(
    "initializer, depth, width, modes",
    [
        (HE, 100, 100, ()),
        (HE, 60, 60, ()),
        (HE, 100, 10, (FM2,)),
        (HE, 2000, 10, (FM2,)),
        (TorchDefault(), 50, 50, (FM1,)),
        (TorchDefault(), 3, 50, ()),
        (VarianceScaling(2.0, distribution="uniform"), 60, 60, ()),
        (VarianceScaling(2.0, distribution="truncated_normal"), 60, 60, (FM1,)),
        (VarianceScaling(2.0, distribution="truncated_normal"), 10, 60, ()),
        (VarianceScaling(4.0), 60, 60, (FM1,)),
        (VarianceScaling(1.0), 60, 60, (FM1,)),
        (VarianceScaling(1.0, "fan_average"), 100, 10, (FM1, FM2)),
        (Orthogonal(), 60, 60, ()),
    ],
    ids=str,
)
def test_the_verdict_on_fully_connected_nets_is_the_papers(initializer, depth, width, modes):
    assert fully_connected(initializer, depth=depth, width=width).verdict().failure_modes == modes


def test_torchs_default_fails_by_its_gradients_where_biases_feed_a_plateau():
    seen = fully_connected(TorchDefault(), depth=50, width=50).verdict()
    assert seen.forward == pytest.approx(0, abs=1e-9)
    assert seen.backward == pytest.approx(math.log(1 / 6))
    assert seen.drift == pytest.approx(-50 * math.log(6))
    assert seen.starts == 0
    assert seen.total == pytest.approx(math.log(1 / 250), rel=1e-9)


def test_numbers_of_a_verdict_are_those_of_the_architecture():
    seen = fully_connected(HE, depth=100, width=10).verdict()
    assert (seen.drift, seen.spread) == (pytest.approx(0, abs=1e-9), pytest.approx(10))
    assert seen.dead == pytest.approx(1 - (1 - 2**-10) ** 100)
    truncated = fully_connected(VarianceScaling(2.0, distribution="truncated_normal"), depth=60, width=60).verdict()
    assert truncated.drift == pytest.approx(60 * math.log(0.7737), rel=1e-3)


def test_only_relu_units_without_biases_die():
    assert fully_connected(HE, depth=100, width=2).verdict().dead > 0.99
    assert fully_connected(TorchDefault(), depth=100, width=2).verdict().dead == 0
    assert fully_connected(HE, depth=100, width=2, activation=LINEAR).verdict().dead == 0


def test_linear_nets_are_critical_at_kappa_one():
    assert fully_connected(VarianceScaling(1.0), depth=60, width=60, activation=LINEAR).verdict().healthy
    assert fully_connected(HE, depth=60, width=60, activation=LINEAR).verdict().failure_modes == (FM1,)


def test_dropout_multiplies_kappa_from_the_second_layer_on():
    law = fully_connected(HE, depth=5, width=50, dropout=0.5)
    np.testing.assert_allclose(law.log_mean_length(), np.arange(5) * math.log(2), atol=1e-12)
    assert law.log_moment_ratio() is None
    assert fully_connected(HE, depth=50, width=50, dropout=0.5).verdict().failure_modes == (FM1,)


def test_a_fully_connected_law_hands_its_architecture_to_the_closed_forms():
    default = fully_connected(TorchDefault(), depth=5, width=7)
    kappas, biases, widths = [1 / 3] * 5, [1 / 21] * 5, [7] * 5
    np.testing.assert_allclose(default.log_mean_length(2.0), log_mean_length(kappas, biases, log_input_length=2.0))
    expected = log_moment_ratio_bounds(
        widths, widths, kappas, biases, kurtosis=1.8, bias_kurtosis=1.8, log_input_length=2.0
    )
    np.testing.assert_allclose(default.log_moment_ratio(2.0), expected)
    orthogonal = fully_connected(Orthogonal(), depth=5, width=7)
    np.testing.assert_allclose(orthogonal.log_moment_ratio(), [log_moment_ratio_orthogonal(widths, widths)] * 2)
    assert default.beta == beta(widths)
    assert [law.gaussian for law in (default, orthogonal, fully_connected(HE, depth=1, width=3))] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    "schedule, modules, parameters, modes",
    [
        ("constant", 50, {"eta": 1.0}, (FM1,)),
        ("constant", 200, {"eta": 0.1}, (FM1,)),
        ("geometric", 50, {"base": 0.9}, ()),
        ("geometric", 500, {"base": 0.9}, ()),
        ("geometric", 50, {"base": 0.5}, ()),
        ("inverse_depth", 50, {}, ()),
        ("inverse_depth", 1000, {}, ()),
    ],
)
@pytest.mark.parametrize("module_widths", [(), (100,)], ids=["single layer", "one hidden layer"])
def test_the_verdict_on_residual_nets_is_the_papers(schedule, modules, parameters, modes, module_widths):
    law = residual(schedule, modules, module_widths=module_widths, **parameters)
    assert law.verdict().failure_modes == modes
    assert law.sum_of_scales == pytest.approx(sum(law.scales))


def test_narrow_modules_of_the_paper_settle_without_failure_mode_2():
    seen = residual("geometric", 200, width=5, module_widths=(5,), base=0.9).verdict(Thresholds(drift=5))
    assert seen.settles
    assert seen.healthy


def test_modules_that_end_in_a_linear_layer_need_only_bounded_squares():
    scales = {"schedule": "power", "modules": 2000, "exponent": 0.75}  # Σ eta grows as L^(1/4), Σ eta² is bounded
    assert residual(**scales, ending=LINEAR).verdict().healthy
    assert residual(**scales).verdict().failure_modes == (FM1,)
    assert residual("power", 2000, exponent=0.25, ending=LINEAR).verdict().failure_modes == (FM1,)


def test_gradients_of_residual_nets_have_a_rate_of_their_own():
    seen = residual("constant", 30, eta=0.5, module_widths=(100,)).verdict()
    assert seen.backward == pytest.approx(math.log(1 + 0.25))  # kappa E[φ²] = 1 in either layer
    assert seen.forward > 2 * seen.backward  # outputs of ReLU modules add up, their gradients do not


def test_a_residual_law_hands_its_architecture_to_the_closed_forms():
    relu, linear = (residual("constant", 4, eta=0.7, width=9, module_widths=(6,), ending=phi) for phi in (RELU, LINEAR))
    scales, shape = [0.7] * 4, (9, (6,), [2.0, 2.0])
    np.testing.assert_allclose(relu.log_moment_ratio(), [log_moment_ratio_residual(scales, *shape)] * 2)
    np.testing.assert_allclose(linear.log_moment_ratio(), [log_moment_ratio_residual_linear(scales, *shape)] * 2)
    assert residual("constant", 4, eta=0.7, bias=0.1).log_moment_ratio() is None
    assert replace(relu, kurtosis=np.array([3.0, 1.8])).log_moment_ratio() is None
    assert replace(relu, orthogonal=True).log_moment_ratio() is None
    np.testing.assert_allclose(linear.log_mean_length(3.0), 3 + np.arange(1, 5) * math.log(1 + 2 * 0.49))


@pytest.mark.parametrize("law", [fully_connected(HE, depth=30, width=50), residual("constant", 30, eta=0.3)], ids=type)
def test_without_biases_a_verdict_does_not_depend_on_the_inputs_length(law):
    one, other = law.verdict(), law.verdict(log_input_length=50.0)
    assert other.total == pytest.approx(one.total, abs=1e-9)
    assert other.drift == pytest.approx(one.drift, abs=1e-9)


@pytest.mark.parametrize("law", [fully_connected(HE, depth=3, width=50), residual("constant", 3, eta=0.3)], ids=type)
def test_a_dead_input_is_failure_mode_1_and_no_warning(law):
    assert law.verdict(log_input_length=-math.inf).failure_modes == (FM1,)


def test_with_biases_a_long_input_falls_to_their_plateau():
    seen = fully_connected(TorchDefault(), depth=50, width=50).verdict(log_input_length=10.0)
    assert seen.total == pytest.approx(math.log(1 / 250) - 10, rel=1e-9)


def test_a_spread_is_beta_where_modules_are_layers():
    law = residual("constant", 3, eta=1e4, width=200, ending=LINEAR)  # the identity is negligible
    assert law.verdict().spread == pytest.approx(3 * 2 / 200 / 5, rel=1e-6)
