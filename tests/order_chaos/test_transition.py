"""Transitions of simulated phase diagrams, and their rounding errors at the edge of chaos."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.order_chaos.asymptotic_distance import SEPARATED, below_edge, transition
from start_training.order_chaos.bins import Bins, BinsFromZero
from start_training.settings import settings_from
from start_training.studies.phase_diagram.phase_diagram_tables import finite_size_agreement, relu_agreement


def test_an_axis_has_equal_bins_with_points_at_their_centres():
    axis = Bins(low=-1, high=2, bins=6)
    np.testing.assert_allclose(axis.edges, [-1, -0.5, 0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(axis.centres, [-0.75, -0.25, 0.25, 0.75, 1.25, 1.75])
    for kind, low, high, bins, message in (
        (BinsFromZero, -0.1, 2, 6, r"x\.low = -0.1: must be a number of at least 0"),
        (Bins, 1, 1, 6, r"x\.high = 1: must be above low = 1"),
        (Bins, 0, np.inf, 6, r"x\.high = inf: must be a finite number"),
        (Bins, 0, 2**2000, 6, r"x\.high = 1148.*: must be a finite number"),
        (Bins, 0, 1, 0, r"x\.bins = 0"),
    ):
        with pytest.raises(ValueError, match=message):
            settings_from(kind, {"low": low, "high": high, "bins": bins}, "x")


def test_a_transition_is_the_total_width_of_bins_whose_states_separate():
    distances = np.array([[1, 1.0], [1.01 * SEPARATED, 0.99 * SEPARATED], [1, 1], [0, 0]])
    assert pytest.approx(1e-2) == SEPARATED  # a hundred times the initial distance
    np.testing.assert_allclose(transition([0.5, 1, 1.5, 2, 2.5], distances), [2.0, 1.5])
    np.testing.assert_allclose(transition([0, 1, 2], distances, axis=1), [2, 1, 2, 0])
    with pytest.raises(ValueError, match="must be equally spaced"):
        transition([0, 1, 3], distances, axis=1)


@given(low=st.floats(0, 0.9), edge=st.integers(1, 60), above=st.integers(1, 60))
def test_rounding_does_not_move_a_transition_off_the_edge(low, edge, above):
    bins = edge + above
    edges = np.linspace(low, low + (1 - low) * bins / edge, bins + 1)
    separated = np.tile(np.arange(bins) < edge, (3, 1))
    assert below_edge(transition(edges, separated, axis=1).mean()) == 0
    assert below_edge([0.9, 1.2, 1 - 1e-9]) == pytest.approx([0.1, -0.2, 1e-9])


def test_no_exponent_is_fitted_if_a_transition_lies_at_the_edge():
    sizes = pd.DataFrame({"N": [100, 400], "inverse_J": [0.9, 1 - 2**-52], "error": 0.01})
    assert "exponent" not in finite_size_agreement(sizes)
    assert "exponent" in finite_size_agreement(sizes.assign(inverse_J=[0.9, 0.99]))


@pytest.mark.parametrize("bins", [3, 61])
def test_a_column_at_the_edge_of_relu_agrees_with_either_sign(bins):
    columns = Bins(-1, 1, bins)  # the middle column is at J0 = 0 up to rounding
    rates = -columns.centres[None] * np.ones((2, 1))
    for at_edge in (-1e-3, 0.0, 1e-3):
        rates[:, bins // 2] = at_edge
        assert relu_agreement(columns, rates)["judged_alike"] == 1
    assert relu_agreement(columns, -rates)["judged_alike"] == pytest.approx(1 / bins)
