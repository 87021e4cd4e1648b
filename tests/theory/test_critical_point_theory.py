"""The length map and its critical points, against other quadratures, closed forms and iteration."""

import math

import numpy as np
import pytest
from scipy.special import erf

from src.theory.activation import ACTIVATIONS, LINEAR, RELU, TANH, Homogeneous, Smooth
from src.theory.critical_point import SEARCHED, chi, critical_point, length_map, length_multiplier, moments
from src.theory.gaussian import gaussian_nodes

GELU, SILU = ACTIVATIONS["gelu"], ACTIVATIONS["silu"]
SMOOTH = {"tanh": TANH, "gelu": GELU, "silu": SILU}
HARD_TANH = Smooth(lambda x: x.clip(-1, 1), lambda x: (np.abs(x) < 1).astype(float))
DEAD = Smooth(np.sign, np.zeros_like)
EXPONENTIAL = Smooth(np.exp, np.exp)
SOFTPLUS = Smooth(lambda x: np.logaddexp(0, x), lambda x: 1 / (1 + np.exp(-x)))
LOGARITHM = Smooth(np.log, lambda x: 1 / x)
SMALL_ONLY = Smooth(lambda x: np.tanh(x) + 0.02 * x**3, lambda x: 1 - np.tanh(x) ** 2 + 0.06 * x**2)


def iterated(activation, point, q, layers):
    for _ in range(layers):
        q = length_map(activation, q, point.weight_variance, point.bias_variance)
    return q


@pytest.mark.parametrize("q", [1e-4, 0.3, 1.0, 10.0, 1e4])
@pytest.mark.parametrize("activation", [*ACTIVATIONS.values()], ids=[*ACTIVATIONS])
def test_moments_by_another_quadrature(activation, q):
    x, weights = gaussian_nodes(0.0, math.sqrt(q))
    ours = moments(activation, q)
    phi, derivative = activation.value(x), activation.derivative(x)
    assert ours.second == pytest.approx((weights * phi**2).sum(), rel=1e-7)
    assert ours.derivative == pytest.approx((weights * derivative**2).sum(), rel=1e-7)
    assert ours.slope == pytest.approx((weights * phi * derivative * x).sum() / q, rel=1e-7)
    assert ours.second != pytest.approx((weights * phi**2).sum() * 1.001, rel=1e-7)


@pytest.mark.parametrize("q", [0.1, 1.0, 2.0, 10.0])
def test_kinks_elsewhere_cost_little(q):
    inside = erf(1 / math.sqrt(2 * q))  # share of |x| < 1
    assert moments(HARD_TANH, q).derivative == pytest.approx(inside, rel=1e-3)
    x, weights = gaussian_nodes(0.0, math.sqrt(q))
    if q > 1:  # which a rule that is exact at a kink at zero is not
        assert (weights * HARD_TANH.derivative(x) ** 2).sum() != pytest.approx(inside, rel=2e-2)


@pytest.mark.parametrize("q", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("slope", [0.0, 0.01, 0.5, 1.0])
def test_homogeneous_activations_have_one_critical_weight_variance_and_no_biases(slope, q):
    activation = Homogeneous(slope)
    point = critical_point(activation, q)
    assert point.weight_variance == pytest.approx(1 / activation.second, rel=1e-12)
    assert (point.bias_variance, point.length_multiplier, point.slope) == (0, pytest.approx(1), pytest.approx(1))


def test_relu_gives_hes_two():
    assert critical_point(RELU, 1.0).weight_variance == pytest.approx(2, rel=1e-14)
    assert critical_point(LINEAR, 1.0).weight_variance == pytest.approx(1, rel=1e-14)


def test_gelu_at_ten():
    point = critical_point(GELU, 10.0)
    assert point.weight_variance == pytest.approx(1.956, abs=5e-4)
    assert point.bias_variance == pytest.approx(0.32, abs=5e-3)


@pytest.mark.parametrize(
    "activation, q, published",
    [(GELU, (3 + math.sqrt(17)) / 2, (1.98305826, 0.17292239)), (SILU, 14.32017362, (1.98800468, 0.55514317))],
    ids=["gelu", "silu"],
)
def test_the_half_stable_points_of_gelu_and_silu_are_those_of_roberts_yaida_and_hanin(activation, q, published):
    point = critical_point(activation, q)
    assert (point.weight_variance, point.bias_variance) == pytest.approx(published, abs=1e-8)
    assert point.slope == pytest.approx(1, abs=1e-9)
    with pytest.raises(ValueError, match="has no stable critical point"):
        critical_point(activation, 0.999 * q)


@pytest.mark.parametrize("q", [20.0, 100.0])
@pytest.mark.parametrize("activation", SMOOTH.values(), ids=SMOOTH)
def test_a_critical_point_is_a_fixed_point_at_which_chi_is_one(activation, q):
    point = critical_point(activation, q)
    assert chi(activation, q, point.weight_variance) == pytest.approx(1, rel=1e-12)
    assert length_map(activation, q, point.weight_variance, point.bias_variance) == pytest.approx(q, rel=1e-12)
    multiplier = length_multiplier(activation, q, point.weight_variance)
    assert point.length_multiplier == pytest.approx(multiplier, rel=1e-12)
    assert multiplier == pytest.approx(1 - point.bias_variance / q, rel=1e-12)
    assert abs(multiplier - 1) > 1e-3  # two numbers


@pytest.mark.parametrize("q", [20.0, 100.0])
@pytest.mark.parametrize("activation", SMOOTH.values(), ids=SMOOTH)
def test_the_slope_is_that_of_the_length_map(activation, q):
    point, step = critical_point(activation, q), 1e-4 * q
    above, below = (length_map(activation, q + side, point.weight_variance) for side in (step, -step))
    assert point.slope == pytest.approx((above - below) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("start", [0.5, 2.0])
def test_lengths_come_to_a_stable_point(start):
    point = critical_point(TANH, 1.0)
    assert iterated(TANH, point, start, 30) == pytest.approx(1, rel=1e-6)
    gelu = critical_point(GELU, 10.0)
    for layers in 10, 20:  # slowly: the slope is 0.98
        assert math.log(iterated(GELU, gelu, 10.1, layers) / 10) / math.log(1.01) == pytest.approx(
            gelu.slope**layers, rel=0.02
        )


def test_lengths_leave_a_point_that_is_refused():
    weight_variance = 1 / moments(GELU, 1.0).derivative
    bias_variance = 1 - weight_variance * moments(GELU, 1.0).second
    assert chi(GELU, 1.0, weight_variance) == pytest.approx(1)
    q = 1.01
    for _ in range(30):
        q = length_map(GELU, q, weight_variance, bias_variance)
    assert q > 1.05


def test_tanh_without_biases_loses_its_length_as_one_over_twice_the_depth():
    def after_200(weight_variance):
        q = 1.0
        for _ in range(200):
            q = length_map(TANH, q, weight_variance)
        return q

    assert 2 * 200 * after_200(1.0) == pytest.approx(1, abs=0.03)
    assert chi(TANH, after_200(1.0), 1.0) == pytest.approx(1 - 1 / 200, abs=2e-4)  # gradients too fall as a power
    for wrong in 0.95, 1.05:
        assert 2 * 200 * after_200(wrong) != pytest.approx(1, abs=0.9)


@pytest.mark.parametrize(
    "activation, q, edge",
    [(GELU, 1.0, 3.57), (GELU, 1e-6, 3.57), (SILU, 1.0, 14.4), (SMALL_ONLY, 100.0, None), (SMALL_ONLY, 3e5, None)],
)
def test_the_nearest_point_is_good_and_nothing_nearer_is(activation, q, edge):
    with pytest.raises(ValueError, match=r"the nearest is at q = [\d.e+-]+$") as caught:
        critical_point(activation, q)
    nearest = float(str(caught.value).rsplit(" ", 1)[1])
    assert abs(critical_point(activation, nearest).slope) <= 1
    with pytest.raises(ValueError, match="has no stable critical point"):
        critical_point(activation, nearest * (0.99 if q < nearest else 1.01))
    assert edge is None or nearest == edge


@pytest.mark.parametrize(
    "activation, reason",
    [
        (DEAD, "no finite mean above 0"),
        (LOGARITHM, "no finite mean above 0"),
        (SOFTPLUS, r"biases would need the variance -2\.14"),
        (EXPONENTIAL, "the length map has the slope 2"),
    ],
    ids=["dead", "not finite", "negative bias variance", "exponential"],
)
def test_an_activation_without_any_says_why(activation, reason):
    searched = f"nor at any q from {SEARCHED[0]:g} to {SEARCHED[1]:g}$"
    with pytest.raises(ValueError, match=rf"^q = 1: mine has no stable .*{reason}.*{searched}"):
        critical_point(activation, 1.0, name="mine")


def test_what_grows_too_fast_for_the_quadrature_is_not_believed():
    with pytest.raises(ValueError, match="no finite mean"):
        critical_point(EXPONENTIAL, 98.1)  # where what is left of it within reach looks stable


@pytest.mark.parametrize("q", [0, -1.0, math.nan, math.inf, "1", None])
def test_a_q_that_is_no_variance_is_a_mistake(q):
    with pytest.raises(ValueError, match=r"^q = .*: must be a number above 0"):
        critical_point(TANH, q)
