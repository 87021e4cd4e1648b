"""The phase diagram of ReLU: the line of constant norm; and the exponent of transitions with its error."""

import numpy as np
import pandas as pd
import pytest

from start_training.figures.phase_diagram import draw_phase_diagram
from start_training.order_chaos.bins import Bins
from start_training.studies.phase_diagram import phase_diagram_tables as tables


def test_the_line_of_constant_norm_crosses_J0_0_at_the_theoretical_J():
    growths, rows = np.linspace(0.2, -0.7, 6)[None], Bins(0.0, 2.0, 4)
    relu = tables.relu_diagram(Bins(-1.0, 2.0, 6), rows, growths, growths)
    figure = draw_phase_diagram({"diagram_relu": relu}, N=100, matrices=1)
    line = figure.axes[0].lines[1]
    np.testing.assert_allclose(np.interp(0, line.get_xdata(), line.get_ydata()), 1 / np.sqrt(2), rtol=0.02)  # J² = 2


def test_the_error_of_an_exponent_follows_from_those_of_its_transitions():
    fit = tables.finite_size_agreement(pd.DataFrame({"N": [100, 400], "inverse_J": [0.8, 0.9], "error": [0.02, 0.01]}))
    assert fit["exponent"] == pytest.approx(0.5)
    assert fit["exponent_error"] == pytest.approx(0.1 * 2**0.5 / np.log(4))
    unknown = tables.finite_size_agreement(pd.DataFrame({"N": [1, 2], "inverse_J": 0.5, "error": np.nan}))
    assert np.isnan(unknown["exponent_error"])
    assert "exponent" not in tables.finite_size_agreement(pd.DataFrame({"N": [100], "inverse_J": 0.8, "error": 0.1}))
