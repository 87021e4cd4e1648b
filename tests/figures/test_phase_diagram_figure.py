"""The figures of the phase diagram: theory over what is measured, and the exponent of transitions."""

import numpy as np
import pandas as pd
import pytest

from src.figures.phase_diagram import draw_finite_size, draw_phase_diagram
from src.jobs import phase_diagram_tables as tables
from src.order_chaos.bins import Bins

COLUMNS, ROWS = Bins(-1.0, 2.0, 6), Bins(0.0, 2.0, 4)


def test_each_activation_is_one_panel_and_the_norm_is_kept_where_theory_says():
    growths, distances = np.linspace(0.2, -0.7, 6)[None], np.arange(24.0)[None]
    relu = {"diagram_relu": tables.relu_diagram(COLUMNS, ROWS, growths, growths)}
    tanh = {"diagram_tanh": tables.tanh_diagram(COLUMNS, ROWS, distances),
            "boundary": tables.tanh_boundary(COLUMNS, ROWS, distances)}  # fmt: skip
    for drawn in (tanh, relu):
        figure = draw_phase_diagram(drawn, N=100, matrices=1)
        assert len(figure.axes) == 2  # the panel and its colour bar
        assert "one matrix" in figure.axes[0].get_title()
    kept = figure.axes[0].lines[1]
    np.testing.assert_allclose(np.interp(0, kept.get_xdata(), kept.get_ydata()), 1 / np.sqrt(2), rtol=0.02)  # J² = 2


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
    unknown = tables.finite_size_agreement(pd.DataFrame({"N": [1, 2], "inverse_J": 0.5, "error": np.nan}))
    assert np.isnan(unknown["exponent_error"])
    assert "exponent" not in tables.finite_size_agreement(pd.DataFrame({"N": [100], "inverse_J": 0.8, "error": 0.1}))
