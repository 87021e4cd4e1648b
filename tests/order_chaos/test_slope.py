"""The slope of J² per epoch: its window, its value, and that its standard error is one."""

import math

import numpy as np
import pandas as pd
import pytest

from src.callbacks.phase_summary import sentence, summary_of
from src.figures.scaling import what_is_missing
from src.order_chaos.slope import fit_slope, ordered_window
from src.runs.decay_points import edge_decays
from src.runs.phase_slopes import constant_spread, law_points, phase_slopes

EPOCHS = np.arange(13.0)


def line(A=0.1, C=0.2, epochs=EPOCHS):
    return A * np.asarray(epochs) + C


def test_the_window_is_the_later_half_of_what_lies_below_one():
    assert ordered_window(EPOCHS, line()) == (3.5, 7)  # J² = 1 in epoch 8
    assert ordered_window(EPOCHS, line(A=0.05)) == (6, 12)  # never
    assert ordered_window(EPOCHS, line(A=0.05), skip=0.25) == (3, 12)


def test_a_run_that_comes_back_below_one_is_in_the_ordered_phase_up_to_its_first_crossing():
    J2 = line()
    J2[10:] = 0.5
    assert ordered_window(EPOCHS, J2) == (3.5, 7)


def test_the_window_is_no_shorter_than_three_epochs_where_there_are_as_many():
    assert ordered_window(EPOCHS, line(A=0.17)) == (1, 4)  # J² = 1 in epoch 5: half of it would be 2 epochs
    assert ordered_window(EPOCHS, line(A=0.3)) == (0, 2)
    with pytest.raises(ValueError, match="a slope needs at least 3"):
        fit_slope(EPOCHS, line(A=0.3), window=(0, 2))


@pytest.mark.parametrize("steps", [3, 7, 11, 938, 1875])
def test_rounding_takes_no_measurement_from_a_window_of_three_epochs(steps):
    epochs = np.arange(4 * steps) / steps
    for last in range(3 * steps, 4 * steps):
        window = ordered_window(epochs[: last + 1], line(0.1, 0.1, epochs[: last + 1]), skip=0.9)
        assert fit_slope(epochs, line(0.1, 0.1, epochs), window=window).points == 3 * steps + 1


@pytest.mark.parametrize(
    ("J2", "skip", "message"),
    [
        (line(C=1.2), 0.5, "J² = 1.2 at epoch 0: not in the ordered phase, which lies below 1"),
        (line(), 1.0, "skip = 1.0: must be a fraction"),
    ],
)
def test_where_there_is_no_window_it_says_why(J2, skip, message):
    with pytest.raises(ValueError, match=message):
        ordered_window(EPOCHS, J2, skip=skip)


def test_a_line_is_fitted_exactly():
    slope = fit_slope(EPOCHS, line(), window=(3.5, 7))
    assert (slope.A, slope.C, slope.points) == (pytest.approx(0.1), pytest.approx(0.2), 4)
    assert (slope.start, slope.end) == (3.5, 7)
    assert slope.error == pytest.approx(0, abs=1e-12)
    assert slope.bend == pytest.approx(0, abs=1e-9)
    assert slope.linear


def test_a_curve_bends():
    slope = fit_slope(EPOCHS, 0.2 * np.sqrt(EPOCHS), window=(0, 12))
    assert slope.early > slope.A > slope.late
    assert slope.bend < -0.5
    assert not slope.linear


def test_what_stays_the_same_does_not_grow_whatever_rounding_makes_of_it():
    random = np.random.default_rng(0)
    for value in np.linspace(0.05, 0.95, 181):
        for jitter in (0.0, np.spacing(value)):
            J2 = value + jitter * random.integers(-1, 2, size=13)
            slope = fit_slope(EPOCHS, J2, window=(0, 12))
            assert (slope.A, slope.error, slope.bend) == (0, 0, math.inf)
            assert not slope.grows and not slope.linear
        growing = fit_slope(EPOCHS, value * (1 + 1e-12 * EPOCHS), window=(0, 12))  # the control
        assert growing.grows and growing.linear and abs(growing.A - 1e-12 * value) < 1e-14 * value
        assert not fit_slope(EPOCHS, value * (1 - 1e-12 * EPOCHS), window=(0, 12)).grows


def test_every_report_of_a_net_whose_weights_stay_says_that_nothing_grows():
    phase = {"name": "hidden", "layer": 0, "fan_in": 4, "fan_out": 4, "J0": 0.0, "J": 0.3**0.5, "J2": 0.3}
    phase |= {"jacobian": 0.3, "lyapunov": -0.6, "scaling": 0.01}
    rows = [{**phase, "epoch": epoch, "step": int(10 * epoch)} for epoch in EPOCHS]
    said = summary_of(rows, skip=0.5, lowest=None)
    assert (said["slope"], said["slope_error"], said["constant"]) == (0, 0, 0)
    assert "J² does not grow (epochs 6 to 12)" in sentence(said)
    facts = {"directory": "run", "option": "all", "weight_decay": 0.0, "eta": 0.1, "alpha": 0.0, "batch": 10}
    slopes = phase_slopes(pd.DataFrame(rows).assign(**facts))
    assert law_points(slopes, "eta").empty and edge_decays(slopes) == {}
    assert what_is_missing(slopes)[0].startswith("J² did not grow: ")
    assert math.isnan(constant_spread(slopes)["relative_sd"])


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_measurements_give_no_slope(count):
    with pytest.raises(ValueError, match=r"window = 0 to 12 epochs: "):
        fit_slope(EPOCHS[:: 12 // count if count else 1][:count], line()[:count], window=(0, 12))


def z_scores(correlation: float, *, adjusted: bool = True, runs: int = 2_000, points: int = 60) -> np.ndarray:
    """(A_fitted − A) / error over many noisy lines, whose neighbouring residuals have a correlation."""
    random, epochs, scores = np.random.default_rng(0), np.linspace(0, 12, points), []
    for _ in range(runs):
        noise = random.normal(size=points) * np.sqrt(1 - correlation**2)
        for index in range(1, points):
            noise[index] += correlation * noise[index - 1]
        J2 = line(epochs=epochs) + 0.01 * noise
        slope = fit_slope(epochs, J2, window=(0, 12))
        factor = 1.0 if adjusted else np.sqrt((1 - correlation) / (1 + correlation))
        scores.append((slope.A - 0.1) / (slope.error * factor))
    return np.array(scores)


@pytest.mark.parametrize(("correlation", "largest"), [(0.0, 1.1), (0.5, 1.3)])
def test_the_standard_error_is_one(correlation, largest):
    """Of correlated residuals it is a fifth too small: their correlation, estimated from 60, comes out too low."""
    scores = z_scores(correlation)
    assert abs(scores.mean()) < 4 / np.sqrt(len(scores)) * scores.std()
    assert 0.9 < scores.std() < largest


def test_that_of_independent_residuals_would_be_too_small():
    """The control of the test above."""
    assert z_scores(0.5, adjusted=False).std() > 1.5
