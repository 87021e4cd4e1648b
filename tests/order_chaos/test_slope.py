"""The slope of J² per epoch: its window, its value, and its standard error."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from start_training.order_chaos.slope import Slope, fit_slope, ordered_window

EPOCHS = np.arange(13.0)


def line(A=0.1, C=0.2, epochs=EPOCHS):
    return A * np.asarray(epochs) + C


def test_the_window_is_the_later_half_of_the_epochs_before_J2_first_reaches_one():
    assert ordered_window(EPOCHS, line()) == (3.5, 7)  # J² = 1 in epoch 8
    assert ordered_window(EPOCHS, line(A=0.05)) == (6, 12)  # J² stays below 1
    assert ordered_window(EPOCHS, line(A=0.05), skip=0.25) == (3, 12)
    assert ordered_window(EPOCHS, np.where(EPOCHS < 10, line(), 0.5)) == (3.5, 7)
    assert ordered_window(EPOCHS, np.where(EPOCHS < 8, 0.5, 1.0)) == (3.5, 7)  # 1 itself is the edge
    assert ordered_window(EPOCHS + 2, line()) == (5.5, 9)


def test_the_window_is_at_least_three_epochs_long_if_the_ordered_phase_is():
    assert ordered_window(EPOCHS, line(A=0.17)) == (1, 4)  # J² = 1 in epoch 5: half of it would be 2 epochs
    assert ordered_window(EPOCHS, line(A=0.3)) == (0, 2)
    with pytest.raises(ValueError, match="its measurements of J² span 2 epochs; a slope needs at least 3"):
        fit_slope(EPOCHS, line(A=0.3), window=(0, 2))
    with pytest.raises(ValueError, match=r"^J² = 1\.2 at epoch 0: must be below 1, in the ordered phase"):
        ordered_window(EPOCHS, line(C=1.2))


@given(steps=st.integers(3, 2000), last=st.floats(0.75, 0.999))
def test_a_window_of_three_epochs_loses_no_measurement_by_rounding(steps, last):
    epochs = np.arange(4 * steps) / steps
    end = int(4 * steps * last) + 1
    window = ordered_window(epochs[:end], line(0.1, 0.1, epochs[:end]), skip=0.9)
    assert fit_slope(epochs, line(0.1, 0.1, epochs), window=window).points == 3 * steps + 1


@given(st.integers(0, 2**32), st.sampled_from([4, 7, 30]))
def test_line_and_error_agree_with_scipy_if_residuals_alternate(seed, points):
    random = np.random.default_rng(seed)
    t = np.linspace(2, 9, points)
    J2 = line(*random.uniform(0.01, 0.2, 2), t) + 0.01 * random.uniform(0.5, 1.5, points) * (-1.0) ** np.arange(points)
    slope, expected = fit_slope(t, J2, window=(2, 9)), linregress(t, J2)
    assert pytest.approx((expected.slope, expected.intercept)) == (slope.A, slope.C)
    assert slope.error == pytest.approx(expected.stderr)
    assert (slope.start, slope.end, slope.points) == (2, 9, points)
    halves = [linregress(t[half], J2[half]).slope for half in (t <= 5.5, t >= 5.5)]
    assert [slope.early, slope.late] == pytest.approx(halves)
    assert slope.bend == pytest.approx((halves[1] - halves[0]) / expected.slope)


@pytest.mark.parametrize("points", [15, 300])
def test_correlated_residuals_raise_the_error_with_the_correlation_limited_to_nine_tenths(points):
    t = np.linspace(0, 6, points)
    J2 = line(epochs=t) + 0.01 * np.sin(2 * t)
    fit, expected = fit_slope(t, J2, window=(0, 6)), linregress(t, J2)
    residuals = J2 - expected.intercept - expected.slope * t
    correlation = (residuals[1:] @ residuals[:-1]) / (residuals @ residuals)
    assert (correlation > 0.9) == (points == 300)
    assert correlation > 0.1
    r = min(correlation, 0.9)
    assert fit.error == pytest.approx(expected.stderr * math.sqrt((1 + r) / (1 - r)))


@pytest.mark.parametrize(("correlation", "largest"), [(0.0, 1.1), (0.5, 1.3)])
def test_the_standard_error_is_the_standard_deviation_of_the_slope_over_runs(correlation, largest):
    """For correlated residuals it is a fifth too small, as the correlation estimated from 60 residuals is too low."""
    runs, points = 1000, 60
    epochs, noise = np.linspace(0, 12, points), np.random.default_rng(0).normal(size=(runs, points))
    for index in range(1, points):
        noise[:, index] = correlation * noise[:, index - 1] + math.sqrt(1 - correlation**2) * noise[:, index]
    fits = [fit_slope(epochs, line(epochs=epochs) + 0.01 * row, window=(0, 12)) for row in noise]
    scores = np.array([(fit.A - 0.1) / fit.error for fit in fits])
    assert abs(scores.mean()) < 4 / math.sqrt(runs) * scores.std()
    assert 0.9 < scores.std() < largest
    independent = scores.std() * math.sqrt((1 + correlation) / (1 - correlation))
    assert (independent > 1.5) == (correlation > 0)  # the control: the error for independent residuals is too small


def test_J2_is_linear_if_the_slopes_of_the_halves_differ_by_at_most_half_the_slope():
    for A in 0.1, -0.1:
        for half in 0.2495, 0.2505, -0.2495, -0.2505:
            slope = Slope(A, 0.01, 0.2, 5, 10, 6, early=A * (1 - half), late=A * (1 + half))
            assert slope.linear == (abs(half) < 0.25)
    exact = fit_slope(EPOCHS, line(), window=(3.5, 7))
    assert (exact.points, exact.error, exact.linear) == (4, 0, True)
    assert exact.bend == pytest.approx(0, abs=1e-9)
    curve = fit_slope(EPOCHS, 0.2 * np.sqrt(EPOCHS), window=(0, 12))
    assert curve.early > curve.A > curve.late and curve.bend < -0.5 and not curve.linear


def test_constant_values_with_rounding_errors_have_slope_zero():
    random = np.random.default_rng(0)
    for value in np.linspace(0.05, 0.95, 181):
        for jitter in (0.0, np.spacing(value)):
            J2 = value + jitter * random.integers(-1, 2, size=13)
            fit = fit_slope(EPOCHS, J2, window=(0, 12))
            assert (fit.A, fit.error, fit.bend) == (0, 0, math.inf)
            assert not fit.grows and not fit.linear
        growing = fit_slope(EPOCHS, value * (1 + 1e-12 * EPOCHS), window=(0, 12))  # the control
        assert growing.grows and growing.linear and abs(growing.A - 1e-12 * value) < 1e-14 * value
        assert not fit_slope(EPOCHS, value * (1 - 1e-12 * EPOCHS), window=(0, 12)).grows


def test_a_slope_needs_four_measurements():
    with pytest.raises(
        ValueError, match=r"window = 0 to 12 epochs: holds 3 measurements of J²; a slope needs at least 4"
    ):
        fit_slope(EPOCHS[[0, 4, 8]], line()[[0, 4, 8]], window=(0, 12))
    assert fit_slope([0, 1, 2, 3], [0.1, 0.2, 0.3, 0.4], window=(0, 12)).points == 4
