"""Where a simulated diagram turns, and that rounding puts no transition beside the edge that lies on it."""

import numpy as np
import pandas as pd
import pytest

from src.jobs.phase_diagram_tables import finite_size_agreement, relu_agreement
from src.order_chaos.bins import Bins
from src.order_chaos.transition import below_edge, mean_and_error, transition


def test_a_transition_is_as_high_as_bins_separate():
    distances = np.array([[1, 1.0], [1, 0], [1, 1], [0, 0]])
    np.testing.assert_allclose(transition([0, 0.5, 1, 1.5, 2], distances), [1.5, 1.0])
    np.testing.assert_allclose(transition([0, 1, 2], distances, axis=1), [2, 1, 2, 0])
    with pytest.raises(ValueError, match="must be equally spaced"):
        transition([0, 1, 3], distances, axis=1)


def test_a_single_matrix_has_no_error():
    mean, error = mean_and_error([[1.0, 2.0]])
    assert mean.tolist() == [1, 2]
    assert np.isnan(error).all()
    assert mean_and_error([1.0, 3.0])[1] == pytest.approx(1.0)


def test_a_transition_at_the_edge_is_not_beside_it_by_rounding():
    for low in np.linspace(0, 0.9, 10):
        for bins in range(2, 30):
            for edge in range(1, bins):
                edges = np.linspace(low, low + (1 - low) * bins / edge, bins + 1)
                separated = np.tile(np.arange(bins) < edge, (3, 1))
                assert below_edge(transition(edges, separated, axis=1).mean()) == 0
    assert below_edge([0.9, 1.2]) == pytest.approx([0.1, -0.2])


def test_transitions_at_the_edge_have_no_exponent():
    sizes = pd.DataFrame({"N": [100, 400], "inverse_J": [0.9, 1 - 2**-52], "error": 0.01})
    assert "exponent" not in finite_size_agreement(sizes)
    assert "exponent" in finite_size_agreement(sizes.assign(inverse_J=[0.9, 0.99]))


@pytest.mark.parametrize("bins", [3, 21, 61])
def test_a_column_at_relus_edge_has_no_wrong_side(bins):
    columns = Bins(-1, 1, bins)  # the middle one at J0 = 0, give or take rounding
    rates = -columns.centres[None] * np.ones((2, 1))
    for at_edge in (-1e-3, 0.0, 1e-3):
        rates[:, bins // 2] = at_edge
        assert relu_agreement(columns, rates)["judged_alike"] == 1
    assert relu_agreement(columns, -rates)["judged_alike"] == pytest.approx(1 / bins)
