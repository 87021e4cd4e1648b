"""Runs laid over each other, drawn: one colour for one scaling variable, the edge marked, and the spread in numbers."""

import numpy as np
import pytest

from start_training.analysis.collapse import collapse, spread_in_time
from start_training.analysis.phase_curves import layer_rows
from start_training.figures.collapse import draw_collapse, spread_text
from tests.analysis.test_phase_slopes import table
from tests.figures.made import beneath


def test_the_spread_is_drawn_and_said_in_both_times_and_phases_and_the_chaotic_part_is_shaded():
    made = table({"epochs": 16}, {"eta": 0.05, "batch": 16, "epochs": 16}, {"eta": 0.05, "epochs": 32}, noise=0.002)
    rows, figure = layer_rows(made), draw_collapse(made)
    for panel, time in ((3, "epoch"), (7, "rescaled")):
        expected = spread_in_time(rows, time, "J2")
        axes = figure.axes[panel]
        np.testing.assert_allclose(axes.lines[0].get_xydata(), expected[["time", "spread"]].to_numpy(float))
        [shaded] = axes.patches
        assert shaded.get_x() == pytest.approx(expected["time"][expected["mean"] >= 1].min())
    assert spread_text(collapse(rows)) in beneath(figure)
    spreads, said = collapse(rows).assign(spread=0.1234, error=0.01), "12.3 ± 1.0%"
    part = f"{said} at equal epochs, {said} at equal rescaled time, {said} between runs of one scaling variable"
    assert spread_text(spreads) == f"in the ordered phase {part}; past the edge {part}"
    assert spread_text(spreads.assign(error=np.nan)).startswith("in the ordered phase 12.3% at equal epochs")
    assert "No time is common" in draw_collapse(table({}, seeds=1)).get_supxlabel()
