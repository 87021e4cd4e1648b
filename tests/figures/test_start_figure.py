"""When training starts, drawn: every configuration is there, and what never started says so."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from src.figures.start_of_training import draw_start_of_training, start_points
from tests.figures.made import MAXIMUM, STARTS, markers, starts, texts


def arrows(axes: Axes) -> list[tuple[float, float]]:
    lines = [line for line in axes.lines if not isinstance(line.get_marker(), str | int)]
    return [(x, y) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def test_every_configuration_is_drawn_with_its_mean_and_what_did_not_start_is_open():
    figure = draw_start_of_training(starts(), by="initializer")
    [axes] = figure.axes
    filled = sorted([("o", 10, 2), ("o", 20, 5), ("o", 30, 5), ("s", 10, 4), ("D", 10, pytest.approx(23 / 3))])
    assert markers(axes, filled=True) == filled
    assert markers(axes, filled=False) == [("D", 30, MAXIMUM), ("s", 20, 26), ("s", 30, MAXIMUM)]
    assert arrows(axes) == [(20, 26)]  # a lower bound: 20, 28 and more than 30
    seeds = ["mean of 3 seeds, ± s.e.", "lower bound: some never started"]
    assert texts(figure) == ["He normal", "LeCun normal", "users_own", *seeds]
    assert axes.get_ylabel() == "epochs until 20% test accuracy"


def test_curves_that_never_started_stand_apart_in_the_band_that_says_so():
    figure = draw_start_of_training(starts(), by="initializer")
    [axes] = figure.axes
    figure.canvas.draw()
    found = {
        line.get_marker(): float(line.get_transform().transform(line.get_xydata())[0, 1])
        for line in axes.lines
        if line.get_linestyle() == "None" and isinstance(line.get_marker(), str) and MAXIMUM in line.get_ydata()
    }
    assert found.keys() == {"s", "D"}
    line, top = axes.transData.transform((0, MAXIMUM))[1], axes.transAxes.transform((0, 1))[1]
    assert line + 5 < found["s"] < found["D"] - 5 < top - 5
    assert [text.get_text() for text in axes.texts] == [f"not started within {MAXIMUM} epochs"]
    [all_started] = draw_start_of_training(starts(he_normal=STARTS["he_normal"])).axes
    assert not all_started.texts
    assert all_started.get_ylim()[1] < MAXIMUM


def test_means_and_standard_errors_are_over_the_seeds_there_are():
    runs = starts()
    runs.loc[0, ["started", "observed_epoch"]] = pd.NA  # he_normal, depth 30: still running
    points = start_points(runs, by="initializer", x="depth").set_index("configuration")
    assert points.loc["he_normal 30", ["mean", "runs", "started"]].tolist() == [5.5, 2, 2]
    assert points.loc["he_normal 30", "error"] == pytest.approx(0.5)
    assert points.loc["he_normal 20", "error"] == pytest.approx(np.std([3, 4, 8], ddof=1) / 3**0.5)
    assert points.loc["lecun_normal 20", ["mean", "runs", "started"]].tolist() == [26, 3, 2]
    assert "mean of 2–3 seeds, ± s.e." in texts(draw_start_of_training(runs, by="initializer"))
    grown = start_points(starts(), by=None, x="log_growth").set_index("configuration")
    assert grown["x"]["he_normal 30"] == pytest.approx(6.01)  # in which seeds differ: their median
