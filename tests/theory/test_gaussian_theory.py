"""Means over a normal variable by quadrature, against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from start_training.theory.gaussian import gaussian_nodes


@given(st.floats(-20, 20), st.floats(0.1, 50))
def test_means_of_known_functions_agree_with_closed_forms(mean, deviation):
    x, weights = gaussian_nodes(mean, deviation)
    ratio = mean / deviation
    active, density = norm.cdf(ratio), norm.pdf(ratio)
    expected = {
        "mass": (1, np.ones_like(x)),
        "mean": (ratio, x / deviation),
        "second": (1 + ratio**2, (x / deviation) ** 2),
        "step": (active, x > 0),
        "relu": (ratio * active + density, np.maximum(x, 0) / deviation),
        "tanh of great slope": (2 * active - 1, np.tanh(1e4 * x)),
    }
    for name, (exact, values) in expected.items():
        tolerance = 1e-3 if name == "tanh of great slope" else 1e-8 * (1 + ratio**2)
        assert (weights * values).sum() == pytest.approx(exact, abs=tolerance), name


def test_nodes_broadcast_and_with_deviation_0_all_equal_the_mean():
    x, weights = gaussian_nodes([[-2.0], [3.0]], [0.0, 1.0, 4.0])
    assert x.shape == weights.shape == (2, 3, 200)
    np.testing.assert_allclose((weights * x).sum(-1), [[-2] * 3, [3] * 3], rtol=1e-9)
    np.testing.assert_array_equal(x[:, 0], [[-2] * 200, [3] * 200])


@pytest.mark.parametrize("deviation", [-0.1, math.nan])
def test_a_negative_deviation_is_an_error(deviation):
    with pytest.raises(ValueError, match=r"^deviation = .*: must be at least 0"):
        gaussian_nodes(0.0, deviation)
