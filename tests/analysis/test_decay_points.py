"""λ* and the final J of weight decays, for runs generated from the scaling law."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem

from start_training.analysis.decay_points import decay_points, expected_J, lambda_stars
from start_training.analysis.phase_slopes import phase_slopes
from tests.analysis.made_phases import CONSTANT, STEPS
from tests.analysis.test_phase_slopes import table

DECAYS = (0.0, 1e-3, 1e-2, 0.03)
EDGE = CONSTANT / 32 / (4 * STEPS)  # λ* = A (1 − alpha) B / (4 eta S) with S = 32 STEPS


def runs(*, noise: float = 0.0, decays: tuple = DECAYS, **common):
    made = table(*({"decay": decay, **common} for decay in decays), noise=noise, epochs=20, seeds=3)
    return phase_slopes(made).assign(option="all")


@pytest.mark.parametrize("law", [{}, {"alpha": 0.5, "eta": 0.05}, {"eta": 0.05}])
def test_lambda_star_and_the_predicted_final_J_are_those_of_the_law(law):
    fits = runs(**law)
    assert lambda_stars(fits)["all"] == pytest.approx((EDGE, 0.0), rel=1e-6, abs=1e-12)
    points = decay_points(fits)
    assert points["decay"].tolist() == [decay / 2 for decay in DECAYS]
    np.testing.assert_allclose(expected_J(fits, points["decay"]), points["J"], rtol=1e-6)
    assert abs(expected_J(fits, 2 * points["decay"]) - points["J"])[1:].min() > 0.05  # not weight_decay


def test_points_are_means_over_seeds_with_standard_errors():
    fits = runs(noise=0.01)
    points, last = decay_points(fits), fits[fits["weight_decay"] == DECAYS[-1]]
    assert (points["runs"].tolist(), points["epochs"].tolist()) == ([3] * 4, [20] * 4)
    ends = {"lowest_loss": last["lowest_loss"], "accuracy": last["final_accuracy"], "J": np.sqrt(last["final_J2"])}
    for name, values in ends.items():
        of_last = points.loc[3, [name, f"{name}_error"]].tolist()
        assert of_last == pytest.approx([np.mean(values), sem(values)])
    decay, error = lambda_stars(fits)["all"]
    decays = fits[fits["weight_decay"] == 0]["slope"] / (CONSTANT / 32 / EDGE) * 10
    assert (decay, error) == pytest.approx((decays.mean(), sem(decays)))
    assert abs(decay - EDGE) < 4 * error
    assert abs(1.2 * decay - EDGE) > 4 * error


def test_the_error_of_a_single_run_is_that_of_its_fit():
    one = runs(noise=0.01).groupby("weight_decay").head(1)
    decay, error = lambda_stars(one)["all"]
    assert error == pytest.approx(decay * one["slope_error"].iloc[0] / one["slope"].iloc[0])
    assert error > 0
    two = one.assign(option="b", slope=2 * one["slope"])
    assert list(lambda_stars(pd.concat([two, one]))) == ["b", "all"]  # in order of appearance


def test_lambda_star_needs_a_run_without_decay_and_points_need_a_weight_decay():
    assert lambda_stars(runs(decays=(1e-3, 1e-2))) == {}
    with pytest.raises(ValueError, match=r"^table: no run has a number as optimizer\.weight_decay"):
        decay_points(runs().assign(weight_decay=np.nan))
