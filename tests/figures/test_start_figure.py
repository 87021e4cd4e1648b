"""When training starts, drawn: every configuration is there, and what never started says so."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from src.figures.save import save_figure
from src.figures.start_of_training import draw_start_of_training, start_points
from tests.figures.test_simulation_figures import texts

MAXIMUM = 30


def table(**cells: dict[int, list[int | None]]) -> pd.DataFrame:
    """Of each option and depth, the start epochs of its seeds; None for one that never started."""
    rows = [
        {
            "initializer": option,
            "depth": depth,
            "beta": depth / 10,
            "configuration": f"{option} {depth}",
            "started": epoch is not None,
            "observed_epoch": epoch or MAXIMUM,
            "max_epochs": MAXIMUM,
            "log_growth": depth / 5 + seed / 100,
            "start_metric": "test/accuracy",
            "start_threshold": 0.2,
        }
        for option, depths in cells.items()
        for depth, epochs in depths.items()
        for seed, epoch in enumerate(epochs)
    ]
    return pd.DataFrame(rows).astype({"started": "boolean", "observed_epoch": "Int64", "max_epochs": "Int64"})


SWEEP = {
    "he_normal": {30: [4, 6, 5], 10: [2, 2, 2], 20: [3, 4, 8]},
    "lecun_normal": {10: [3, 5, 4], 20: [20, 28, None], 30: [None, None, None]},
    "users_own": {10: [7, 7, 9], 30: [None, None, None]},
}


def markers(axes: Axes, *, filled: bool) -> list[tuple[str, float, float]]:
    """Marker, x and y of each point."""
    found = []
    for line in axes.lines:
        full = to_rgba(line.get_markerfacecolor()) == to_rgba(line.get_color())
        if line.get_linestyle() == "None" and isinstance(line.get_marker(), str) and full is filled:
            found += [(line.get_marker(), x, y) for x, y in zip(*line.get_data(), strict=True)]
    return [point for point in found if point[0] not in ("_", "|")]  # the ends of error bars


def arrows(axes: Axes) -> list[tuple[float, float]]:
    lines = [line for line in axes.lines if not isinstance(line.get_marker(), str | int)]
    return [(x, y) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def heights(axes: Axes, figure: Figure) -> dict[str, float]:
    """Where on the page the markers of what never started stand."""
    figure.canvas.draw()
    return {
        line.get_marker(): float(line.get_transform().transform(line.get_xydata())[0, 1])
        for line in axes.lines
        if line.get_linestyle() == "None" and isinstance(line.get_marker(), str) and MAXIMUM in line.get_ydata()
    }


def test_every_configuration_is_drawn_with_its_mean_and_what_did_not_start_is_open():
    figure = draw_start_of_training(table(**SWEEP), by="initializer")
    [axes] = figure.axes
    assert sorted(markers(axes, filled=True)) == sorted(
        [("o", 10, 2), ("o", 20, 5), ("o", 30, 5), ("s", 10, 4), ("D", 10, pytest.approx(23 / 3))]
    )
    assert sorted(markers(axes, filled=False)) == [("D", 30, MAXIMUM), ("s", 20, 26), ("s", 30, MAXIMUM)]
    assert arrows(axes) == [(20, 26)]  # a lower bound: 20, 28 and more than 30
    assert texts(figure) == [
        "He normal",
        "LeCun normal",
        "users_own",
        "mean of 3 seeds, ± s.e.",
        "lower bound: some never started",
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "depth $d$ (layers, or residual modules)",
        "epochs until 20% test accuracy",
    )


def test_curves_that_never_started_stand_apart_in_the_band_that_says_so():
    figure = draw_start_of_training(table(**SWEEP), by="initializer")
    [axes] = figure.axes
    found = heights(axes, figure)
    assert found.keys() == {"s", "D"}
    line = axes.transData.transform((0, MAXIMUM))[1]
    top = axes.transAxes.transform((0, 1))[1]
    assert line + 5 < found["s"] < found["D"] - 5 < top - 5
    assert [text.get_text() for text in axes.texts] == [f"not started within {MAXIMUM} epochs"]


def test_where_all_started_there_is_no_band():
    figure = draw_start_of_training(table(he_normal=SWEEP["he_normal"]), by="initializer")
    [axes] = figure.axes
    assert not axes.texts
    assert axes.get_ylim()[1] < MAXIMUM
    assert texts(figure) == ["He normal", "mean of 3 seeds, ± s.e."]


@pytest.mark.parametrize("logarithmic", [True, False])
def test_panels_share_the_epochs_and_their_ticks_end_at_the_maximum(logarithmic):
    figure = draw_start_of_training(
        table(**SWEEP), by="initializer", x=["depth", "beta"], logarithmic=logarithmic, title="Both"
    )
    depth, beta = figure.axes
    assert [axes.get_xlabel() for axes in (depth, beta)] == [
        "depth $d$ (layers, or residual modules)",
        r"$\beta=\sum_j 1/n_j$",
    ]
    for filled in (True, False):
        there = [(marker, x / 10, y) for marker, x, y in markers(depth, filled=filled)]
        assert sorted(markers(beta, filled=filled)) == sorted(there)
    assert depth.get_ylim() == beta.get_ylim()
    assert depth.get_yscale() == ("log" if logarithmic else "linear")
    assert max(depth.get_yticks()) <= MAXIMUM
    assert figure.get_suptitle() == "Both"


def test_means_and_standard_errors_are_over_the_seeds_there_are():
    runs = table(**SWEEP)
    runs.loc[0, ["started", "observed_epoch"]] = pd.NA  # he_normal, depth 30: still running
    points = start_points(runs, by="initializer", x="depth").set_index("configuration")
    assert points.loc["he_normal 30", ["mean", "runs", "started"]].tolist() == [5.5, 2, 2]
    assert points.loc["he_normal 30", "error"] == pytest.approx(0.5)
    assert points.loc["he_normal 20", "error"] == pytest.approx(np.std([3, 4, 8], ddof=1) / 3**0.5)
    assert points.loc["lecun_normal 20", ["mean", "runs", "started"]].tolist() == [26, 3, 2]
    figure = draw_start_of_training(runs, by="initializer")
    assert "mean of 2–3 seeds, ± s.e." in texts(figure)


def test_a_number_that_seeds_differ_in_is_their_median():
    points = start_points(table(**SWEEP), by=None, x="log_growth").set_index("configuration")
    assert points["x"]["he_normal 30"] == pytest.approx(6.01)


def test_runs_that_leave_the_setting_alone_are_a_curve_too():
    runs = table(**SWEEP)
    runs.loc[runs["initializer"] == "users_own", "initializer"] = None
    assert "default" in texts(draw_start_of_training(runs, by="initializer"))
    widths = table(**SWEEP).assign(width=[8.0, 16.0, np.nan] * 8)
    assert {"8", "16", "default"} <= set(texts(draw_start_of_training(widths, by="width")))


def test_the_relation_stands_beneath():
    figure = draw_start_of_training(table(**SWEEP), by="initializer", relation="growth")
    assert "rank correlation" in figure.get_supxlabel()
    few = table(he_normal=SWEEP["he_normal"])[:3]
    assert "no relation yet" in draw_start_of_training(few, relation="growth").get_supxlabel()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "nothing"}, "by = nothing: no column of the sweep's table; there are initializer, depth"),
        ({"x": "nothing"}, "x = nothing: no column of numbers of the sweep's table; there are depth, beta"),
        ({"x": "initializer"}, "x = initializer: no column of numbers"),
        ({"x": "unknown"}, "x = unknown: known of no run"),
        ({"relation": "depth"}, "relation = 'depth': must be one of beta, growth"),
    ],
)
def test_a_setting_that_cannot_be_drawn_is_named(arguments, message):
    with pytest.raises(ValueError, match=message.replace("'", ".")):
        draw_start_of_training(table(**SWEEP).assign(unknown=np.nan), **arguments)


def test_the_table_is_left_alone_and_the_figure_is_the_same_bytes_each_time(tmp_path):
    runs = table(**SWEEP)
    before = runs.copy()
    for name in ("one", "two"):
        save_figure(draw_start_of_training(runs, by="initializer", relation="beta"), tmp_path / name)
    pd.testing.assert_frame_equal(runs, before)
    for kind in ("png", "pdf"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
