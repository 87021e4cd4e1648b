"""Growth rates of known lengths, including dead and exploded layers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.lengths.growth_rate import first_nonfinite_layer, growth_rate

INF, NAN = math.inf, math.nan


@given(st.lists(st.floats(-300, 300), min_size=2, max_size=30))
def test_the_rate_is_the_least_squares_slope_of_logs(logs):
    expected = np.polyfit(np.arange(len(logs)), logs, 1)[0]
    assert growth_rate(np.exp(logs)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_rate_of_dead_layers_is_minus_infinity_and_of_exploded_layers_nan():
    for dead in [1.0, 0.5, 0.0], [0.0, 0.0]:
        assert growth_rate(dead) == -INF
    for unknown in [1.0, INF, 3.0], [1.0, NAN, 3.0], [0.0, INF], [1.0], []:
        assert np.isnan(growth_rate(unknown))


def test_leading_axes_are_nets_or_steps():
    lengths = np.array([[[1.0, 2.0, 4.0], [4.0, 2.0, 1.0]], [[1.0, 1.0, 0.0], [1.0, NAN, 1.0]]])
    np.testing.assert_allclose(growth_rate(lengths), [[math.log(2), -math.log(2)], [-INF, NAN]])
    assert growth_rate(np.ones((4, 3, 1))).shape == (4, 3)
    np.testing.assert_array_equal(first_nonfinite_layer(lengths), [[-1, -1], [-1, 1]])


def test_the_first_layer_that_is_not_finite_is_found():
    for lengths, layer in ([1.0, 2.0], -1), ([INF, 1.0, NAN], 0), ([1.0, 0.0, NAN, INF], 2), ([1.0, -INF], 1):
        assert first_nonfinite_layer(lengths) == layer
