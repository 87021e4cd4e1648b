"""Tests of `Trend` on the end of noisy curves: against calculations by hand and against SciPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, theilslopes

from start_training.schedules.trend import MAD, SIGMAS, Trend, relative


def trend(values, steps=None):
    return Trend(np.arange(len(values)) if steps is None else np.asarray(steps), np.asarray(values, np.float64))


def test_the_end_is_a_sixth_the_window_a_third_and_smoothing_spans_a_twelfth():
    spans = {n: (trend(np.zeros(n)).end, trend(np.zeros(n)).window, trend(np.zeros(n)).width) for n in range(4, 99)}
    assert spans[4] == spans[14] == (2, 4, 1)
    assert spans[15] == spans[17] == (2, 5, 1)
    assert (spans[18], spans[23], spans[24], spans[48]) == ((3, 6, 1), (3, 7, 1), (4, 8, 3), (8, 16, 5))


def test_noise_is_the_deviation_of_single_values_by_hand():
    late = 6  # of the 8 values that have neighbours on both sides, those after the first third
    jumps = trend([0, 5, -7, 0, 1, 0, 1, 0, 1, 0])  # steep at the beginning, and then each value is 1 off
    assert jumps.noise == pytest.approx(norm.ppf(0.75) ** -1 / math.sqrt(1.5) * (1 + 3 / late), rel=1e-4)
    uneven = trend([0, 0, 0, 1, 0, 0, 0], [0, 1, 2, 6, 7, 11, 12])  # off by 0.2, 1, 0.8 and 0 in the late part
    assert uneven.noise == pytest.approx(MAD * 0.2 / math.sqrt(1 + 0.8**2 + 0.2**2) * (1 + 3 / 4))
    even_count = trend([0, 0, 0, 1, 0, 0, 0])  # of 0, ½, 1, ½, 0 the last four: the lower of the middle two
    assert even_count.noise == pytest.approx(MAD * 0.5 / math.sqrt(1.5) * (1 + 3 / 4))


@given(st.integers(0, 2**32), st.integers(4, 90))
def test_fall_is_the_theil_sen_slope_times_the_window(seed, n):
    random = np.random.default_rng(seed)
    steps, values = np.cumsum(random.integers(1, 9, size=n)), random.normal(size=n)
    last = slice(-max(4, n // 3), None)
    slope = theilslopes(values[last], steps[last]).slope
    assert trend(values, steps).fall() == pytest.approx(-slope * np.ptp(steps[last]))


def test_the_margins_of_noise_by_hand():
    curve = trend(np.tile([0.0, 1.0], 15))
    luck = curve.noise * math.sqrt(2 * math.log(30 / 3) / 3)
    assert curve.margin == pytest.approx(luck + 3 * curve.noise / math.sqrt(5))
    assert curve.lowest == pytest.approx(luck)


def stepping(rise, noise):
    """Return a trend with alternating noise about 0 that is higher by `rise` at the end."""
    return trend(noise * np.tile([-1.0, 1.0], 15) + rise * (np.arange(30) >= 24))


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_rise_has_to_exceed_the_threshold_and_the_margin_of_noise(noise):
    margin = stepping(5.0, noise).margin
    lowest = float(stepping(0.0, noise).smooth[:-5].min())
    least = max(0.1, margin) + lowest - stepping(0.0, noise).at_end()
    assert stepping(1.01 * least, noise).rises(0.1)
    assert not stepping(0.99 * least, noise).rises(0.1)
    assert stepping(-1.0, noise).rise() == 0


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_fall_has_to_exceed_the_threshold_and_three_standard_errors_of_its_line(noise):
    def falling(fall):
        return trend(noise * np.tile([-1.0, 1.0], 15) - fall * np.arange(30) / 9)  # `fall` over the window of 10

    error = falling(0).noise * 9 / math.sqrt(82.5)  # error of least squares: Σ (k − 4.5)² over 10 steps is 82.5
    least = max(0.2, SIGMAS * error)
    changes = [falling(fall).fall() for fall in (1.01 * least, 0.99 * least)]
    assert [falling(fall).falls(0.2) for fall in (1.01 * least, 0.99 * least)] == [change > least for change in changes]
    assert changes[0] > changes[1]


@pytest.mark.parametrize(("below", "continues"), [(0.101, True), (0.099, False)])
def test_a_fall_continues_if_the_end_is_lower_by_a_third_of_the_threshold(below, continues):
    curve = trend([*range(25, 5, -1), 5, 4, 3, 2, 1, 0, *[3 - below] * 4])
    assert curve.fall() > 1
    assert curve.falls(0.3) == continues


@pytest.mark.parametrize(("last", "low"), [(0.45, 16), (0.55, 15)])
def test_a_rise_begins_after_the_last_value_within_noise_and_half_the_rise_of_the_minimum(last, low):
    assert trend(np.concatenate([np.linspace(1, 0, 10), np.linspace(0.1, 1, 10)])).last_low == 9
    noisy = trend([*[0, 0.4] * 8, last, 1, 1, 1])
    assert noisy.margin > noisy.rise() / 2 == 0.5
    assert noisy.last_low == low


def test_relative_is_the_logarithm_of_the_loss_plus_its_floor():
    assert relative(np.array([1.0, 0.0, -3.0]), 2.0, floor=0.05) == pytest.approx(np.log([1.1, 0.1, 0.1]))
    assert np.isfinite(relative(np.zeros(2), 0.0, floor=0.05)).all()
