"""The largest rate against depth, drawn: medians, ranges, and what has learned nothing is open."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from src.figures.largest_rate import BAND, draw_largest_rate
from src.figures.save import save_figure
from tests.figures.test_simulation_figures import texts

NOTHING = (np.nan, 0.1)  # a test that found no rate, and its accuracy


def table(**tests: dict[int, list[tuple[float, float]]]) -> pd.DataFrame:
    """Of each initializer and depth, max_lr and the highest accuracy of its seeds."""
    rows = [
        {
            "directory": f"{option}{depth}{seed}",
            "name": f"initializer={option} depth={depth} seed={seed}",
            "seed": seed,
            "initializer": option,
            "varied": f"initializer={option} depth={depth}",
            "configuration": f"{option}{depth}",
            "depth": depth,
            "step": step,
            "learning_rate": 10.0**step,
            "val_loss": 1.0 - 0.1 * step,
            "val_accuracy": accuracy * (1 + step) / 2,
            "max_lr": rate,
            "min_lr": rate / 10,
            "cyclical_min_lr": rate / 3,
            "turned": not np.isnan(rate),
            "rule": "because",
        }
        for option, depths in tests.items()
        for depth, found in depths.items()
        for seed, (rate, accuracy) in enumerate(found)
        for step in (0, 1)
    ]
    return pd.DataFrame(rows)


SWEEP = {
    "he_normal": {10: [(0.2, 0.8), (0.1, 0.9), (0.4, 0.7)], 5: [(0.5, 0.9)] * 3, 20: [(0.05, 0.5)] * 3},
    "lecun_normal": {5: [(0.4, 0.6)] * 3, 10: [(0.3, 0.15)] * 3, 20: [NOTHING] * 3},
    "mine": {5: [(0.3, 0.6), (0.3, 0.6), NOTHING]},
}


def markers(axes: Axes, *, filled: bool) -> list[tuple[str, float, float]]:
    found = []
    for line in axes.lines:
        full = to_rgba(line.get_markerfacecolor()) == to_rgba(line.get_color())
        if line.get_linestyle() == "None" and full is filled and line.get_marker() not in ("_", "|"):
            found += [(str(line.get_marker()), float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]
    return sorted(point for point in found if not np.isnan(point[2]))


def test_each_configuration_is_a_median_over_seeds_and_what_learned_nothing_is_open():
    figure = draw_largest_rate(table(**SWEEP), by="initializer", title="Rates")
    rates, accuracies = figure.axes
    assert [each[:2] for each in markers(rates, filled=True)] == [("o", 5), ("o", 10), ("o", 20), ("s", 5)]
    assert [each[2] for each in markers(rates, filled=True)] == pytest.approx([0.5, 0.2, 0.05, 0.4])
    still_open = [("D", 5, 0.3), ("s", 10, 0.3), ("s", 20, BAND / 3)]  # one seed found none; below 20%; in the band
    for found, expected in zip(markers(rates, filled=False), still_open, strict=True):
        assert (found[0], found[1], pytest.approx(found[2])) == expected
    assert markers(accuracies, filled=True)[1] == ("o", 10, pytest.approx(0.8))
    assert [each[:2] for each in markers(accuracies, filled=False)] == [("D", 5), ("s", 10), ("s", 20)]
    assert [text.get_text() for text in rates.texts] == ["no usable rate in the ramp"]
    legend = ["He normal", "LeCun normal", "mine", "median of 3 seeds, range"]
    assert texts(figure) == [*legend, "below 20% accuracy,\nor a seed without a rate"]
    assert figure.get_suptitle() == "Rates"


def test_bars_go_from_the_smallest_to_the_largest_rate():
    rates = draw_largest_rate(table(**SWEEP), by="initializer").axes[0]
    bars = [np.array(bar) for bars in rates.collections for bar in bars.get_segments() if len(bar)]
    [of_ten] = [bar for bar in bars if bar[0, 0] == 10 and np.ptp(bar[:, 1]) > 0.01]
    assert of_ten[:, 1].tolist() == pytest.approx([0.1, 0.4])


def test_every_marker_is_within_the_panels_and_curves_stand_beside_each_other():
    figure = draw_largest_rate(table(**SWEEP), by="initializer")
    figure.canvas.draw()
    for axes in figure.axes:
        places = []
        for line in axes.lines:
            if line.get_linestyle() == "None" and line.get_marker() not in ("_", "|"):
                points = line.get_transform().transform(line.get_xydata()).reshape(-1, 2)
                places += [(str(line.get_marker()), *point) for point in points.tolist() if not np.isnan(point[1])]
        assert all(axes.bbox.contains(x, y) for _, x, y in places)
        at_five = {marker: min(x for each, x, _ in places if each == marker) for marker in ("o", "s", "D")}
        assert at_five["o"] < at_five["s"] < at_five["D"]


def test_where_every_test_found_a_rate_there_is_no_band():
    figure = draw_largest_rate(table(he_normal=SWEEP["he_normal"]))
    assert not figure.axes[0].texts
    assert texts(figure) == ["median of 3 seeds, range"]
    nothing = draw_largest_rate(table(lecun_normal={5: [NOTHING]}))
    assert markers(nothing.axes[0], filled=False) == [("o", 5, BAND / 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "nothing"}, "by = nothing: no column of the sweep's table"),
        ({"x": "initializer"}, "x = initializer: no column of numbers of the sweep's table; there are seed, depth"),
        ({"threshold": 20}, "threshold = 20: must be a fraction"),
    ],
)
def test_a_setting_that_cannot_be_drawn_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_largest_rate(table(**SWEEP), **arguments)


def test_before_any_test_has_ended_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="x = depth: no range test has ended yet"):
        draw_largest_rate(table(**SWEEP).assign(rule=None))


def test_the_figure_is_the_same_bytes_each_time(tmp_path):
    for name in ("one", "two"):
        save_figure(draw_largest_rate(table(**SWEEP), by="initializer"), tmp_path / name)
    for kind in ("png", "pdf"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
