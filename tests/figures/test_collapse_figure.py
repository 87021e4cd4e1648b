"""Runs laid over each other, drawn: one colour for one scaling variable, the edge marked, and the spread in numbers."""

import numpy as np
import pytest

from src.figures.collapse import draw_collapse, spread_in_words
from src.runs.collapse import collapse, spread_in_time
from src.runs.phase_curves import watched
from tests.figures.made import beneath
from tests.runs.test_phase_slopes import table


@pytest.fixture(scope="module")
def made():
    return table({"epochs": 16}, {"eta": 0.05, "batch": 16, "epochs": 16}, {"eta": 0.05, "epochs": 32}, noise=0.002)


@pytest.fixture(scope="module")
def figure(made):
    return draw_collapse(made)


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
