"""The figures of the phase diagram show the tables they are given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh

from src.figures.phase_diagram import draw_finite_size, draw_phase_diagram
from src.jobs import phase_diagram_tables as tables
from src.order_chaos.bins import Bins
from src.theory.edge_of_chaos import boundary

COLUMNS, ROWS = Bins(-1.0, 2.0, 6), Bins(0.0, 2.0, 4)


@pytest.fixture
def found():
    """Two matrices whose distances, and rates, number the points."""
    distances = np.arange(24.0) + np.array([[0.0], [1.0]])
    growths = np.linspace(0.2, -0.7, 6) + np.array([[0.0], [0.1]])
    return {
        "diagram_tanh": tables.tanh_diagram(COLUMNS, ROWS, distances),
        "boundary": tables.tanh_boundary(COLUMNS, ROWS, distances),
        "diagram_relu": tables.relu_diagram(COLUMNS, ROWS, growths, growths),
    }


def test_colour_is_the_mean_over_matrices_at_its_place(found):
    figure = draw_phase_diagram(found, N=100, matrices=2)
    tanh, relu = figure.axes[:2]
    [mesh] = [part for part in tanh.collections if isinstance(part, QuadMesh)]
    np.testing.assert_allclose(mesh.get_array(), np.arange(24).reshape(4, 6) + 0.5)
    [mesh] = [part for part in relu.collections if isinstance(part, QuadMesh)]
    np.testing.assert_allclose(mesh.get_array()[2], np.linspace(0.25, -0.65, 6))
    assert mesh.norm.vmin == -mesh.norm.vmax
    for axes in (tanh, relu):
        np.testing.assert_allclose([*axes.get_xlim(), *axes.get_ylim()], [-1, 2, 0, 2])


def test_theory_is_drawn_over_it(found):
    figure = draw_phase_diagram(found, N=100, matrices=2)
    edge = figure.axes[0].lines[0]
    np.testing.assert_allclose(edge.get_ydata(), boundary(COLUMNS.centres))
    kept = figure.axes[1].lines[1]
    np.testing.assert_allclose(np.interp(0, kept.get_xdata(), kept.get_ydata()), 1 / np.sqrt(2), rtol=0.02)  # J² = 2


@pytest.mark.parametrize("name", ["diagram_tanh", "diagram_relu"])
def test_one_activation_is_one_panel(found, name):
    figure = draw_phase_diagram({key: found[key] for key in (name, "boundary")}, N=100, matrices=1)
    assert len(figure.axes) == 2  # the panel and its colour bar
    assert "one matrix" in figure.axes[0].get_title()


@pytest.mark.parametrize("matrices", [1, 3])
def test_a_curve_for_each_size_and_their_transitions(matrices):
    rows = Bins(0.5, 1.1, 6)
    distances = {
        N: np.tile(np.where(rows.centres < edge, 0.5, 0.0), (matrices, 1)) for N, edge in ((50, 0.7), (200, 0.9))
    }
    transitions = tables.finite_size_transitions(rows, distances)
    np.testing.assert_allclose(transitions["inverse_J"], [0.7, 0.9])
    left, right = draw_finite_size(tables.finite_size_table(rows, distances), transitions).axes
    assert [text.get_text() for text in left.get_legend().get_texts()][-2:] == ["$N=50$", "$N=200$"]
    assert "N^{-0.79}" in right.get_legend().get_texts()[0].get_text()  # log 3 / log 4
    assert [label.get_text() for label in right.get_xticklabels()] == ["50", "200"]


def test_an_exponent_has_the_error_that_its_transitions_make():
    said = tables.finite_size_agreement(pd.DataFrame({"N": [100, 400], "inverse_J": [0.8, 0.9], "error": [0.02, 0.01]}))
    assert said["exponent"] == pytest.approx(0.5)
    assert said["exponent_error"] == pytest.approx(0.1 * 2**0.5 / np.log(4))
    assert np.isnan(
        tables.finite_size_agreement(pd.DataFrame({"N": [1, 2], "inverse_J": 0.5, "error": np.nan}))["exponent_error"]
    )
    assert "exponent" not in tables.finite_size_agreement(pd.DataFrame({"N": [100], "inverse_J": 0.8, "error": 0.1}))
