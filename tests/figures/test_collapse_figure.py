"""The figure of collapsing curves: the spread, drawn and in the caption, and the shaded chaotic phase."""

import numpy as np
import pytest

from start_training.analysis.collapse import collapse, spread_in_time
from start_training.analysis.phase_curves import layer_rows
from start_training.figures.collapse import draw_collapse, spread_text
from tests.analysis.test_phase_slopes import table
from tests.figures.made import beneath


def test_the_spread_is_drawn_and_described_in_both_times_and_the_chaotic_phase_is_shaded():
    made = table({"epochs": 16}, {"eta": 0.05, "batch": 16, "epochs": 16}, {"eta": 0.05, "epochs": 32}, noise=0.002)
    rows, figure = layer_rows(made), draw_collapse(made)
    for panel, time in ((3, "epoch"), (7, "rescaled")):
        expected = spread_in_time(rows, time, "J2")
        axes = figure.axes[panel]
        np.testing.assert_allclose(axes.lines[0].get_xydata(), expected[["time", "spread"]].to_numpy(float))
        [shaded] = axes.patches
        assert shaded.get_x() == pytest.approx(expected["time"][expected["mean"] >= 1].min())
    assert spread_text(collapse(rows)) in beneath(figure)
    spreads, value = collapse(rows).assign(spread=0.1234, error=0.01), "12.3 ± 1.0%"
    part = f"{value} at equal epochs, {value} at equal rescaled time, {value} between runs with equal scaling variables"
    assert spread_text(spreads) == f"in the ordered phase {part}; past the edge of chaos {part}"
    assert spread_text(spreads.assign(error=np.nan)).startswith("in the ordered phase 12.3% at equal epochs")
    assert "The curves have no time in common" in draw_collapse(table({}, seeds=1)).get_supxlabel()
