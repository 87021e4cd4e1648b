"""Weight decay, drawn: points and errors of each decay, zero set apart, and λ* where the law has it."""

import numpy as np
import pandas as pd
import pytest

from src.figures.colours import CYCLE
from src.figures.weight_decay import draw_weight_decay
from src.runs.decay_points import edge_decays
from src.runs.phase_slopes import phase_slopes
from tests.figures.made import beneath, texts
from tests.runs.test_phase_slopes import table


def sweep(decays: tuple = (0.0, 1e-3, 1e-2, 0.03), *, seeds: int = 3, **common) -> pd.DataFrame:
    return table(*({"decay": decay} for decay in decays), epochs=20, seeds=seeds, noise=0.01, **common)


def points(axes, face: str = CYCLE[0]) -> np.ndarray:
    found = [line for line in axes.lines if line.get_marker() == "o" and line.get_color() == CYCLE[0]]
    [one] = [line for line in found if line.get_markerfacecolor() == face]
    return one.get_xydata()


@pytest.fixture(scope="module")
def made():
    return sweep()


@pytest.fixture(scope="module")
def figure(made):
    return draw_weight_decay(made)


def test_the_law_s_decay_is_a_band_and_J_of_the_law_goes_through_the_points(made, figure):
    [(decay, error)] = edge_decays(phase_slopes(made).assign(option="")).values()
    [band] = figure.axes[0].patches
    assert (band.get_x(), band.get_width()) == pytest.approx((decay - error, 2 * error))
    [law] = [line.get_xydata() for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    drawn = points(figure.axes[0])
    np.testing.assert_allclose(np.interp(np.log(drawn[:, 0]), np.log(law[:, 0]), law[:, 1]), drawn[:, 1], atol=0.05)
    text = beneath(figure)
    assert text.startswith("Means of 3 seeds ± s.e. 20 epochs. J² still changed by more than 2% in the last 25% of ")
    assert "at λ = 0.0005" in text
    assert f" λ* = {decay:.3g} ± {error:.1g} (weight_decay {2 * decay:.3g}); A fitted over " in text
    assert any(r"\lambda^*" in each for each in texts(figure))
    without = beneath(draw_weight_decay(sweep((1e-3, 1e-2), seeds=1)))
    assert "No λ*: no run without weight decay has a slope." in without


def test_settings_that_are_told_apart_have_a_curve_and_a_decay_each_and_are_told_of_where_they_are_not(made):
    slow = sweep(eta=0.05).assign(configuration=lambda rows: "slow" + rows["configuration"])
    both = pd.concat([made, slow])
    both["directory"] += both["eta"].astype(str)
    apart, together = draw_weight_decay(both, by="eta"), draw_weight_decay(both)
    assert texts(apart)[:2] == ["0.1", "0.05"]
    assert " for 0.05; A fitted over" in beneath(apart)
    assert len(points(apart.axes[0])) == 4
    words = "Some points are means of several configurations"
    assert words in beneath(together) and words not in beneath(apart)
