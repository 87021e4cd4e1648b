"""The figure of weight decays: points with errors, the break before 0, λ*, and the predicted J."""

import numpy as np
import pandas as pd
import pytest

from start_training.analysis.decay_points import lambda_stars
from start_training.analysis.phase_slopes import phase_slopes
from start_training.figures.weight_decay import draw_weight_decay
from tests.analysis.test_phase_slopes import table
from tests.figures.made import beneath, markers


def sweep(*decays: float, seeds: int) -> pd.DataFrame:
    return table(*({"decay": decay} for decay in decays), epochs=20, seeds=seeds, noise=0.01)


def test_lambda_star_is_a_band_and_the_predicted_J_goes_through_the_points():
    made = sweep(0.0, 1e-3, 1e-2, 0.03, seeds=3)
    figure = draw_weight_decay(made)
    [(decay, error)] = lambda_stars(phase_slopes(made).assign(option="")).values()
    [band] = figure.axes[0].patches
    assert (band.get_x(), band.get_width()) == pytest.approx((decay - error, 2 * error))
    [law] = [line.get_xydata() for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    drawn = np.array([point for _, *point in markers(figure.axes[0], filled=True)])
    np.testing.assert_allclose(np.interp(np.log(drawn[:, 0]), np.log(law[:, 0]), law[:, 1]), drawn[:, 1], atol=0.05)
    assert f" λ* = {decay:.3g} ± {error:.1g} (weight_decay {2 * decay:.3g}); A is fitted over " in beneath(figure)
    assert "J² still changed by more than 2% in the last 25% of " in beneath(figure)
    without = beneath(draw_weight_decay(sweep(1e-3, 1e-2, seeds=1)))
    assert "λ* is unknown: no run without weight decay has a slope above 0." in without
