"""Runs laid over each other, drawn: one colour for one scaling variable, the edge marked, and the spread in numbers."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from src.figures.collapse import draw_collapse, spread_in_words
from src.figures.colours import CYCLE
from src.runs.collapse import collapse, spread_in_time
from src.runs.phase_curves import watched
from tests.figures.made import beneath, texts
from tests.runs.test_phase_slopes import table


@pytest.fixture(scope="module")
def made():
    return table({"epochs": 16}, {"eta": 0.05, "batch": 16, "epochs": 16}, {"eta": 0.05, "epochs": 32}, noise=0.002)


@pytest.fixture(scope="module")
def figure(made):
    return draw_collapse(made)


def test_curves_of_one_scaling_variable_have_one_colour_and_the_legend_has_each_under_its_own(figure):
    for axes in figure.axes[:3] + figure.axes[4:7]:
        drawn = [line for line in axes.lines if len(line.get_xdata()) > 2]
        assert sorted(to_hex(line.get_color()) for line in drawn) == sorted([CYCLE[0], CYCLE[1], CYCLE[1]])
        assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 3
    said = texts(figure)
    assert r"$\eta/((1-\alpha)B)$ = 0.00313" in said
    assert r"$\eta$ 0.05, $\alpha$ 0, $B$ 16" in said
    assert len([each for each in said if each.startswith(r"$\eta$ ")]) == 3


def test_the_edge_is_marked_on_every_curve(figure):
    circles = [line.get_xydata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert sorted(epoch for epoch, _ in circles) == pytest.approx([6, 6, 12], abs=0.2)
    assert [J2 for _, J2 in circles] == pytest.approx([1, 1, 1])
    rescaled = [line.get_xdata()[0] for line in figure.axes[5].lines if line.get_marker() == "o"]
    assert rescaled == pytest.approx([6 * 0.1 / 32] * 3, rel=0.03)


def test_the_spread_is_drawn_and_said_and_the_chaotic_part_is_shaded(made, figure):
    rows = watched(made)
    for panel, time in ((3, "epoch"), (7, "rescaled")):
        expected = spread_in_time(rows, time, "J2")
        axes = figure.axes[panel]
        np.testing.assert_allclose(axes.lines[0].get_xydata(), expected[["time", "spread"]].to_numpy(float))
        [shaded] = axes.patches
        assert shaded.get_x() == pytest.approx(expected["time"][expected["mean"] >= 1].min())
    said = "Means of 2 seeds ± s.e. Spread of J² between configurations, root mean square over time: "
    assert beneath(figure).startswith(said + spread_in_words(collapse(rows)))
    assert "No time is common" in draw_collapse(table({}, seeds=1)).get_supxlabel()


def test_words_name_both_times_and_both_phases(made):
    spreads = collapse(watched(made))
    spreads = spreads.assign(spread=0.1234, error=0.01)
    spread = "12.3 ± 1.0%"
    part = f"{spread} at equal epochs, {spread} at equal rescaled time, {spread} between runs of one scaling variable"
    assert spread_in_words(spreads) == f"in the ordered phase {part}; past the edge {part}"
    assert spread_in_words(spreads.assign(error=np.nan)).startswith("in the ordered phase 12.3% at equal epochs")
    assert spread_in_words(spreads[:0]) == ""
