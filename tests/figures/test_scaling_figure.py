"""The figure of the scaling law: points, exponents, and runs without a slope."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from start_training.analysis.phase_slopes import exponents, law_points, phase_slopes, settings_of_law
from start_training.figures.scaling import COLOURS, draw_scaling
from tests.analysis.test_phase_slopes import table
from tests.figures.made import beneath, texts

SWEEP = [{"eta": eta, "vary": "eta"} for eta in (0.02, 0.04, 0.08, 0.16, 1.0)]
SWEEP += [{"eta": 0.02, "alpha": alpha, "vary": "alpha"} for alpha in (0, 0.5, 0.75)]
SWEEP += [{"batch": batch, "vary": "batch"} for batch in (32, 64, 128)]


def markers(axes: Axes, marker: str) -> np.ndarray:
    """The points with this marker, by x."""
    curves = [line.get_xydata() for line in axes.lines if line.get_marker() == marker]
    points = np.concatenate([curve for curve in curves if len(curve)])
    return points[points[:, 0].argsort()]


def power(axes: Axes, style: str, colour: str) -> float:
    """The exponent of the only line with this style and colour."""
    [line] = [line for line in axes.lines if line.get_linestyle() == style and line.get_color() == colour]
    (x0, y0), (x1, y1) = np.log(line.get_xydata()[[0, -1]])
    return float((y1 - y0) / (x1 - x0))


def test_each_setting_has_a_panel_with_points_fit_and_law_and_crosses_for_missing_slopes():
    made = table(*SWEEP, epochs=30, seeds=3, noise=0.002)
    figure, slopes = draw_scaling(made), phase_slopes(made)
    panels, fitted = settings_of_law(slopes), exponents(slopes)
    for axes, (name, marker) in zip(figure.axes, {"eta": "o", "alpha": "s", "batch": "D"}.items(), strict=False):
        points, fit = law_points(panels[name], name), fitted[name]
        np.testing.assert_allclose(markers(axes, marker), points[["x", "slope"]].to_numpy())
        assert power(axes, "-", COLOURS[name]) == pytest.approx(fit.value)
        assert power(axes, "--", "0.5") == pytest.approx(1)
        [bars] = [bars for bars in axes.containers if len(bars.lines[0].get_xdata())]
        reach = [np.ptp(segment[:, 1]) / 2 for segment in bars.lines[2][0].get_segments()]
        np.testing.assert_allclose(reach, points["error"])
        assert f"$p$ = {fit.value:.3f} [{fit.low:.3f}, {fit.high:.3f}]" in texts(figure)
    assert markers(figure.axes[0], "x")[:, 0].tolist() == [1.0]
    assert beneath(figure).endswith("J² reached 1 before the window had 3 epochs: η 1 α 0 B 32 (3).")
