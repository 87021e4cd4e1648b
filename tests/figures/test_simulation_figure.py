"""Figures of simulations: bands, gaps, and panels."""

import numpy as np
import pandas as pd

from start_training.figures.mean_length_depth import draw_mean_length_against_depth
from start_training.figures.simulation import MARKERS, draw_simulation
from tests.figures.made import ensembles, layers


def test_a_deep_net_has_fewer_points_and_its_dead_nets_are_counted():
    table = layers(200).assign(dead=lambda rows: rows["layer"] / 400)
    [axes] = draw_simulation(table, nets=10, title="deep").axes
    x, y = axes.containers[0][0].get_data()
    assert (len(x), x[0], x[-1]) == (MARKERS, 0, 200)
    np.testing.assert_allclose(list(y), table["log_mean"][list(x)])
    assert "50.0% of nets dead" in axes.get_title()
    table.loc[3:, ["log_mean", "log_mean_error", "low", "median", "high"]] = np.nan  # dead for certain: a gap
    draw_simulation(table, nets=10).draw_without_rendering()


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
