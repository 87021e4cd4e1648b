"""Runs laid over each other, drawn: curves in both times, the edge marked, and the spread in numbers."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from src.figures.collapse import QUANTITIES, STYLES, draw_collapse, spread_in_words
from src.figures.colours import CYCLE
from src.runs.collapse import collapse, spread_in_time
from src.runs.phase_curves import watched
from tests.figures.test_phase_figures import page
from tests.figures.test_simulation_figures import texts
from tests.runs.test_collapse import RUNS
from tests.runs.test_phase_slopes import table


@pytest.fixture(scope="module")
def made():
    return table(*RUNS, seeds=2, noise=0.002)


def test_curves_are_drawn_in_epochs_and_in_rescaled_time_and_those_of_one_scaling_variable_in_one_colour(made):
    axes = draw_collapse(made, title="Over each other").axes
    for row, time in enumerate(("epoch", "rescaled")):
        for column, quantity in enumerate(QUANTITIES):
            drawn = [line for line in axes[4 * row + column].lines if len(line.get_xdata()) > 2]
            colours = sorted(to_hex(line.get_color()) for line in drawn)
            assert colours == sorted([CYCLE[0], CYCLE[1], CYCLE[1]])
            assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 3
            slow = made[(made["layer"] == 1) & (made["configuration"] == "2") & made[quantity].notna()]
            slow = slow.assign(rescaled=slow["epoch"] * slow["scaling"])
            [curve] = [line.get_xydata() for line in drawn if line.get_color() == CYCLE[0]]
            np.testing.assert_allclose(curve, slow.groupby("step")[[time, quantity]].mean().to_numpy())


def test_the_edge_is_marked_on_every_curve(made):
    axes = draw_collapse(made).axes
    circles = [line.get_xydata()[0] for line in axes[0].lines if line.get_marker() == "o"]
    assert sorted(epoch for epoch, _ in circles) == pytest.approx([6, 6, 12], abs=0.2)
    assert [J2 for _, J2 in circles] == pytest.approx([1, 1, 1])
    rescaled = [line.get_xdata()[0] for line in axes[5].lines if line.get_marker() == "o"]
    assert rescaled == pytest.approx([6 * 0.1 / 32] * 3, rel=0.03)


def test_the_spread_is_drawn_and_said_and_the_chaotic_part_is_shaded(made):
    figure = draw_collapse(made)
    rows = watched(made)
    for panel, time in ((3, "epoch"), (7, "rescaled")):
        expected = spread_in_time(rows, time, "J2")
        axes = figure.axes[panel]
        np.testing.assert_allclose(axes.lines[0].get_xydata(), expected[["time", "spread"]].to_numpy(float))
        [shaded] = axes.patches
        assert shaded.get_x() == pytest.approx(expected["time"][expected["mean"] >= 1].min())
    text = figure.get_supxlabel().replace("\n", " ")
    assert text.startswith("Means of 2 seeds ± s.e. Spread of J² between configurations, root mean square over time: ")
    assert spread_in_words(collapse(rows)) in text


def test_words_name_both_times_and_both_phases(made):
    spreads = collapse(watched(made))
    spreads = spreads.assign(spread=0.1234, error=0.01)
    spread = "12.3 ± 1.0%"
    part = f"{spread} at equal epochs, {spread} at equal rescaled time, {spread} between runs of one scaling variable"
    assert spread_in_words(spreads) == f"in the ordered phase {part}; past the edge {part}"
    assert spread_in_words(spreads.assign(error=np.nan)).startswith("in the ordered phase 12.3% at equal epochs")
    assert spread_in_words(spreads[:0]) == ""


def test_the_legend_has_each_configuration_under_its_scaling_variable(made):
    said = texts(draw_collapse(made))
    assert r"$\eta/((1-\alpha)B)$ = 0.00313" in said
    assert r"$\eta$ 0.05, $\alpha$ 0, $B$ 16" in said
    assert len([each for each in said if each.startswith(r"$\eta$ ")]) == 3
    assert len(STYLES) >= 3


def test_a_sweep_that_has_only_begun_is_drawn_and_says_so():
    for runs in (({},), ({"epochs": 1},), ({"epochs": 3}, {"eta": 0.001, "epochs": 3})):
        figure = draw_collapse(table(*runs, seeds=1))
        assert len(figure.axes) == 8
    assert "No time is common" in draw_collapse(table({}, seeds=1)).get_supxlabel()


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match=r"^layer = 4: no run has it"):
        draw_collapse(table({}), layer=4)
    with pytest.raises(ValueError, match=r"^table: no run has a scaling variable"):
        draw_collapse(table({}).assign(scaling=np.nan))


def test_the_same_table_gives_the_same_page(made):
    assert page(draw_collapse(made)) == page(draw_collapse(made))
