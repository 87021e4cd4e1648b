"""The growth rate of known lengths, and what it says of dead and exploded layers."""

import math

import numpy as np
import pytest

from src.lengths.growth_rate import first_nonfinite_layer, growth_rate

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize("kappa", [0.3, 2.0, 4.0])
@pytest.mark.parametrize("depth", [1, 2, 7, 30])
def test_the_rate_of_an_exponential_is_its_exponent(kappa, depth):
    lengths = 5 * (kappa / 2) ** np.arange(depth + 1)
    assert growth_rate(lengths) == pytest.approx(math.log(kappa / 2), abs=1e-12)


def test_the_rate_is_the_least_squares_slope():
    logs = np.random.default_rng(0).normal(size=9)
    expected = np.polyfit(np.arange(9), logs, 1)[0]
    assert growth_rate(np.exp(logs)) == pytest.approx(expected, rel=1e-10)
    assert growth_rate(np.exp(logs)) != pytest.approx((logs[-1] - logs[0]) / 8, rel=1e-2)


@pytest.mark.parametrize(
    "lengths, rate",
    [
        ([1.0, 0.5, 0.0], -INF),
        ([0.0, 0.0], -INF),
        ([1.0, INF, 3.0], NAN),
        ([1.0, NAN, 3.0], NAN),
        ([0.0, INF], NAN),
        ([1.0], NAN),
        ([], NAN),
        ([1e-300, 1e300], 600 * math.log(10)),
    ],
)
def test_dead_and_exploded_layers(lengths, rate):
    np.testing.assert_allclose(growth_rate(lengths), rate, rtol=1e-12)


def test_leading_axes_are_nets_or_steps():
    lengths = np.array([[[1.0, 2.0, 4.0], [4.0, 2.0, 1.0]], [[1.0, 1.0, 0.0], [1.0, NAN, 1.0]]])
    np.testing.assert_allclose(growth_rate(lengths), [[math.log(2), -math.log(2)], [-INF, NAN]])
    assert growth_rate(np.ones((4, 3, 1))).shape == (4, 3)


@pytest.mark.parametrize(
    "lengths, layer", [([1.0, 2.0], -1), ([INF, 1.0, NAN], 0), ([1.0, 0.0, NAN, INF], 2), ([1.0, -INF], 1)]
)
def test_the_first_layer_that_is_not_finite(lengths, layer):
    assert first_nonfinite_layer(lengths) == layer


def test_the_first_layer_that_is_not_finite_of_every_net():
    np.testing.assert_array_equal(first_nonfinite_layer([[1.0, INF], [NAN, 1.0], [1.0, 1.0]]), [1, 0, -1])
