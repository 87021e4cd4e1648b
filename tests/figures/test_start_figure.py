"""The figure of start epochs: means, lower bounds, and configurations that never started."""

import numpy as np
import pandas as pd
import pytest

from start_training.analysis.start_points import start_points
from start_training.figures.start_of_training import draw_start_of_training
from tests.figures.made import MAXIMUM, markers, starts, texts


def test_configurations_are_drawn_at_their_mean_and_open_if_a_seed_did_not_start():
    figure = draw_start_of_training(starts(), by="initializer")
    [axes] = figure.axes
    filled = sorted([("o", 10, 2), ("o", 20, 5), ("o", 30, 5), ("s", 10, 4), ("D", 10, pytest.approx(23 / 3))])
    assert markers(axes, filled=True) == filled
    assert markers(axes, filled=False) == [("D", 30, MAXIMUM), ("s", 20, 26), ("s", 30, MAXIMUM)]
    [arrow] = [line for line in axes.lines if not isinstance(line.get_marker(), str | int) and len(line.get_xdata())]
    assert arrow.get_xydata().tolist() == [[20, 26]]  # a lower bound: 20, 28 and more than 30


def test_means_and_standard_errors_are_over_the_seeds_with_a_known_start():
    runs = starts()
    runs.loc[0, ["started", "observed_epoch"]] = pd.NA  # he_normal, depth 30: still running
    points = start_points(runs, by="initializer", x="depth").set_index("configuration")
    assert points.loc["he_normal 30", ["mean", "runs", "started"]].tolist() == [5.5, 2, 2]
    assert points.loc["he_normal 30", "error"] == pytest.approx(0.5)
    assert points.loc["he_normal 20", "error"] == pytest.approx(np.std([3, 4, 8], ddof=1) / 3**0.5)
    assert points.loc["lecun_normal 20", ["mean", "runs", "started"]].tolist() == [26, 3, 2]
    assert "mean of 2–3 seeds ± standard error" in texts(draw_start_of_training(runs, by="initializer"))
    grown = start_points(starts(), by=None, x="log_growth").set_index("configuration")
    assert grown["x"]["he_normal 30"] == pytest.approx(6.01)  # the median over seeds
