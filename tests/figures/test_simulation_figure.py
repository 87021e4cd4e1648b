"""Figures of simulations: bands, gaps, and panels."""

import numpy as np
import pandas as pd

from start_training.figures.mean_length_depth import draw_mean_length_against_depth
from tests.figures.made import ensembles


def test_residual_nets_are_drawn_with_the_sum_of_their_scales_in_a_panel_for_each_width():
    rows = ensembles("family", "residual_constant").assign(sum_of_scales=lambda rows: rows["layer"])
    widths = [rows.assign(**{"model.width": width}) for width in ("5", "100")]
    figure = draw_mean_length_against_depth(pd.concat(widths), by="family", panel="model.width", compressed=True)
    assert [axes.get_title() for axes in figure.axes] == ["width 5", "width 100"]
    ends = rows[rows["layer"] == rows["depth"]].sort_values("depth")
    for style, column in ((":", "sum_of_scales"), ("-", "log_mean_law"), ("--", "log_mean_theory")):
        for axes in figure.axes:
            [line] = [line for line in axes.lines if line.get_linestyle() == style and len(line.get_xdata()) > 2]
            np.testing.assert_allclose(line.get_ydata(), ends[column])
