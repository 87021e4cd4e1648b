"""The length map and its critical points, against quadrature, closed forms and iteration."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf
from scipy.stats import norm

from start_training.theory.activation import ACTIVATIONS, TANH, Homogeneous, Smooth
from start_training.theory.critical_point import chi, critical_point, length_map, moments
from start_training.theory.gaussian import gaussian_nodes

GELU, SILU = ACTIVATIONS["gelu"], ACTIVATIONS["silu"]
HARD_TANH = Smooth(lambda x: x.clip(-1, 1), lambda x: (np.abs(x) < 1).astype(float))
EXPONENTIAL = Smooth(np.exp, np.exp)
SMALL_ONLY = Smooth(lambda x: np.tanh(x) + 0.02 * x**3, lambda x: 1 - np.tanh(x) ** 2 + 0.06 * x**2)
UNFIT = {
    "sign": (Smooth(np.sign, np.zeros_like), "is not a finite number above 0"),
    "log": (Smooth(np.log, lambda x: 1 / x), "is not a finite number above 0"),
    "softplus": (Smooth(lambda x: np.logaddexp(0, x), lambda x: 1 / (1 + np.exp(-x))), r"a negative variance, -2\.14"),
    "exp": (EXPONENTIAL, "the length map has slope 2"),
}


def iterated(activation, point, q, layers):
    for _ in range(layers):
        q = length_map(activation, q, point.weight_variance, point.bias_variance)
    return q


@given(st.sampled_from([*ACTIVATIONS.values()]), st.floats(-4, 4))
def test_moments_agree_with_another_quadrature(activation, log_q):
    q = 10**log_q
    x, weights = gaussian_nodes(0.0, math.sqrt(q))
    phi, derivative = activation.value(x), activation.derivative(x)
    expected = [weights @ phi**2, weights @ derivative**2, weights @ (phi * derivative * x) / q]
    np.testing.assert_allclose(moments(activation, q), expected, rtol=1e-7)
    assert chi(activation, q, 3.0) == pytest.approx(3 * expected[1], rel=1e-7)
    assert length_map(activation, q, 3.0, 0.5) == pytest.approx(3 * expected[0] + 0.5, rel=1e-7)
    assert length_map(activation, q, 3.0) == pytest.approx(3 * expected[0], rel=1e-7)


def test_moments_of_activations_with_kinks_away_from_0_are_accurate_to_1e_3():
    inside = erf(1 / math.sqrt(2))  # share of |x| < 1
    assert moments(HARD_TANH, 1.0).derivative == pytest.approx(inside, rel=1e-3)


@pytest.mark.parametrize("share, believed", [(0.9e-6, True), (1.1e-6, False)])
def test_moments_determined_beyond_nine_deviations_are_nan(share, believed):
    # E exp(2 √q z) is dominated by z near 2 √q; the share P(z > 9 − 2 √q) of it comes from z > 9.
    q = ((9 - norm.isf(share)) / 2) ** 2
    assert math.isfinite(moments(EXPONENTIAL, q).second) == believed
    if believed:
        assert moments(EXPONENTIAL, q).second == pytest.approx(math.exp(2 * q), rel=2e-6)


@given(st.floats(-2, 2), st.floats(0, 1))
def test_homogeneous_activations_have_one_critical_weight_variance_and_no_biases(log_q, slope):
    point = critical_point(Homogeneous(slope), 10**log_q)
    assert point.weight_variance == pytest.approx(2 / (1 + slope**2), rel=1e-12)
    assert (point.bias_variance, point.slope) == (0, pytest.approx(1))


@pytest.mark.parametrize(
    "activation, q, published",
    [(GELU, (3 + math.sqrt(17)) / 2, (1.98305826, 0.17292239)), (SILU, 14.32017362, (1.98800468, 0.55514317))],
    ids=["gelu", "silu"],
)
def test_the_first_critical_points_of_gelu_and_silu_are_the_published_ones(activation, q, published):
    point = critical_point(activation, q)
    assert (point.weight_variance, point.bias_variance) == pytest.approx(published, abs=1e-8)
    assert point.slope == pytest.approx(1, abs=1e-9)
    with pytest.raises(ValueError, match="has no stable critical point"):
        critical_point(activation, 0.999 * q)


@pytest.mark.parametrize("activation", [TANH, GELU, SILU], ids=["tanh", "gelu", "silu"])
def test_a_critical_point_is_a_stable_fixed_point_at_which_chi_is_one(activation):
    q, step = 20.0, 1e-3
    point = critical_point(activation, q)
    assert chi(activation, q, point.weight_variance) == pytest.approx(1, rel=1e-12)
    assert length_map(activation, q, point.weight_variance, point.bias_variance) == pytest.approx(q, rel=1e-12)
    assert length_map(activation, q, point.weight_variance) / q < 1 - 1e-3  # lengths, unlike gradients, need biases
    above, below = (length_map(activation, q + side, point.weight_variance) for side in (step, -step))
    assert point.slope == pytest.approx((above - below) / (2 * step), rel=1e-6)
    deviation = math.log(iterated(activation, point, 1.01 * q, 10) / q) / math.log(1.01)
    assert deviation == pytest.approx(point.slope**10, rel=0.05, abs=1e-3)


def test_the_variance_of_tanh_without_biases_falls_as_one_over_twice_the_depth():
    q, depth = 1.0, 100
    for _ in range(depth):
        q = length_map(TANH, q, 1.0)
    assert 2 * depth * q == pytest.approx(1, abs=0.05)
    assert chi(TANH, q, 1.0) == pytest.approx(1 - 1 / depth, abs=5e-4)  # gradients too fall as a power


@pytest.mark.parametrize("activation, q, edge", [(GELU, 1e-6, 3.57), (SILU, 1.0, 14.4), (SMALL_ONLY, 3e5, None)])
def test_the_error_names_the_nearest_q_with_a_stable_critical_point(activation, q, edge):
    with pytest.raises(ValueError, match=r"the nearest is at q = [\d.e+-]+$") as caught:
        critical_point(activation, q)
    nearest = float(str(caught.value).rsplit(" ", 1)[1])
    assert abs(critical_point(activation, nearest).slope) <= 1
    with pytest.raises(ValueError, match="has no stable critical point"):
        critical_point(activation, nearest * (0.99 if q < nearest else 1.01))
    assert edge is None or nearest == edge


@pytest.mark.parametrize("name", UNFIT)
def test_an_activation_without_critical_points_is_an_error_with_a_reason(name):
    activation, reason = UNFIT[name]
    searched = r"it has none at any q from 0\.0001 to 10000 either$"
    with pytest.raises(ValueError, match=rf"^q = 1: {name} has no stable .*{reason}.*{searched}"):
        critical_point(activation, 1.0, name=name)
    with pytest.raises(ValueError, match=r"^q = 0: must be a number above 0"):
        critical_point(activation, 0)
