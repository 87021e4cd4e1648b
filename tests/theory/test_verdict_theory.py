"""Verdicts on simple rates: thresholds from both sides, ties, rates that are not finite, and onsets of drift."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.theory.verdict import FM1, FM2, Thresholds, judge, onset

NONE = np.zeros(20)


def verdict(forward, backward=NONE, *, spread=0.0, dead=0.0, **settings):
    return judge(forward, backward, spread=spread, dead=dead, **settings)


@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(1, 30), st.floats(0, 4))
def test_drift_is_the_rate_further_from_0_times_the_number_of_layers(forward, backward, layers, error):
    seen = verdict(np.full(layers, forward), np.full(layers, backward), error=error)
    further = forward if abs(forward) >= abs(backward) else backward
    assert (seen.forward, seen.backward) == (pytest.approx(forward), pytest.approx(backward))
    assert (seen.drift, seen.total) == (pytest.approx(layers * further), pytest.approx(layers * forward))
    assert (FM1 in seen.failure_modes) == (abs(seen.drift) > 9.2 + 2 * error)
    assert seen.starts == (None if seen.healthy else 0)
    assert (seen.error == error and not seen.settles) or seen.healthy


@pytest.mark.parametrize(
    "settings, modes",
    [
        ({"forward": [4.6, 4.6]}, ()),
        ({"forward": [4.6, 4.601]}, (FM1,)),
        ({"backward": [0.0, -4.601]}, (FM1,)),
        ({"forward": [0.0, 6.0], "error": 1.39}, (FM1,)),  # a drift of 12, more than 9.2 by two standard errors
        ({"forward": [0.0, 6.0], "error": 1.41}, ()),
        ({"spread": 3.0, "dead": 0.2}, ()),
        ({"spread": 3.001}, (FM2,)),
        ({"dead": 0.201}, (FM2,)),
        ({"spread": math.nan}, (FM2,)),
        ({"spread": 4.0, "forward": [9.0, 9.0]}, (FM1, FM2)),
        ({"forward": [2.5, 2.6], "thresholds": Thresholds(drift=5)}, (FM1,)),
        ({"spread": 2.0, "thresholds": Thresholds(beta=1)}, (FM2,)),
        ({"dead": 0.1, "thresholds": Thresholds(dead=0.05)}, (FM2,)),
    ],
)
def test_failure_modes_begin_just_above_the_thresholds(settings, modes):
    seen = verdict(**{"forward": [0.0, 0.0], "backward": [0.0, 0.0]} | settings)
    assert seen.failure_modes == modes
    assert seen.healthy == (not modes)
    assert Thresholds().normalized == 2


def test_of_two_equal_drifts_the_forward_one_is_reported():
    assert verdict([1.0], [-1.0]).drift == 1
    assert verdict([1.0], [-1.1]).drift == -1.1


def test_a_change_in_the_earlier_half_of_the_layers_alone_is_no_failure():
    rates = np.where(np.arange(21) < 10, 2.0, 0.0)  # the middle layer counts as late
    seen = verdict(rates, np.zeros(21))
    assert (seen.total, seen.drift, seen.starts, seen.healthy) == (20, 0, None, True)
    for factor, settles in (1, True), (-1, True), (9.2 / 20, False), (9.21 / 20, True):
        assert verdict(factor * rates).settles == settles
    late = verdict(rates[::-1])
    assert (late.failure_modes, late.starts, late.settles) == ((FM1,), 11, False)


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf])
@pytest.mark.parametrize("layer", [0, 19])
def test_a_rate_that_is_not_finite_is_failure_mode_1(bad, layer):
    rates, steep = NONE.copy(), np.full(20, 5.0)
    rates[layer] = bad
    for seen in verdict(rates, steep), verdict(steep, rates), verdict(rates, rates):
        assert (seen.failure_modes, seen.starts) == ((FM1,), layer)


@given(st.integers(0, 19), st.sampled_from([0.7, -2.0]), st.integers(0, 9))
def test_onset_finds_the_first_layer_with_a_rate(start, rate, seed):
    rates = np.where(np.arange(20) >= start, rate, 0.0)
    assert onset(rates) == start
    noise = 0.02 * np.random.default_rng(seed).normal(size=20)
    assert abs(onset(rates + noise) - start) <= 1


@pytest.mark.parametrize("name, allowed", [("drift", 1e-9), ("beta", 1e-9), ("normalized", 1e-9), ("dead", 0.0)])
def test_impossible_thresholds_are_errors(name, allowed):
    assert getattr(Thresholds(**{name: allowed}), name) == allowed
    wrong = 1 if name == "dead" else 0
    with pytest.raises(ValueError, match=f"^{name} = {wrong}: must be a (number above 0|fraction)"):
        Thresholds(**{name: wrong})
