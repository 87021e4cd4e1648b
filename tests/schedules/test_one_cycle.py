"""1cycle at every step: against straight lines between whole steps, and against torch's."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import OneCycleLR

from src.schedules.one_cycle import OneCycle
from tests.schedules.tracing import optimizer_of, trace


def is_one_cycle(rates, start, end, cycle):
    """Whether rates rise from `start` to 1, fall as long, and then to `end`, on straight lines between whole steps.

    Both legs are to be as long as the cycle says, but for rounding and a step that is left for the end.
    """
    last, peak = len(rates) - 1, int(np.argmax(rates))
    straight = np.interp(np.arange(last + 1), [0, peak, 2 * peak, last], [start, 1, start, end])
    exact = rates[peak] == 1 and rates[0] == start and rates[last] == end
    as_long = 2 * peak < last and abs(2 * peak - cycle * last) <= 2
    return exact and as_long and bool(np.allclose(rates, straight, rtol=0, atol=1e-12))


@given(steps=st.integers(6, 1000), cycle=st.floats(0.5, 1))
def test_one_cycle_is_straight_between_whole_steps(steps, cycle):
    schedule = OneCycle(optimizer_of(), total_steps=steps, cycle=cycle)
    rates = np.array([schedule.share(step) for step in range(steps)])
    assert is_one_cycle(rates, 0.1, 1e-4, cycle)
    momenta, peak = [schedule.momentum_at(step) for step in range(steps)], int(np.argmax(rates))
    assert momenta == pytest.approx(np.interp(np.arange(steps), [0, peak, 2 * peak], [0.95, 0.85, 0.95]), abs=1e-12)
    assert (momenta[0], momenta[peak], momenta[-1]) == (0.95, 0.85, 0.95)
    assert (schedule.share(steps), schedule.momentum_at(5 * steps)) == (1e-4, 0.95)


def three_phases(optimizer, *, steps, share):
    settings = {"three_phase": True, "anneal_strategy": "linear", "div_factor": 10, "final_div_factor": 1000}
    return OneCycleLR(optimizer, max_lr=1.0, total_steps=steps, pct_start=share, **settings)


def test_torchs_one_cycle_is_ours_where_its_corners_are_whole_steps_and_only_there():
    ours = trace(partial(OneCycle, total_steps=100, cycle=88 / 99), 100)
    torchs = trace(partial(three_phases, steps=100, share=0.45), 100)
    for one, other in zip(ours, torchs, strict=True):
        assert one == pytest.approx(other, rel=1e-12)
    rates, _ = trace(partial(three_phases, steps=101, share=0.45), 101)  # the reason for a class of our own
    assert not is_one_cycle([0.1, *rates[1:-1, 0], 1e-4], 0.1, 1e-4, 0.9)


def test_one_cycle_of_a_few_steps():
    for rates, momenta in (
        ([1], [0.85]),
        ([1, 1e-4], [0.85, 0.95]),
        ([0.1, 1, 1e-4], [0.95, 0.85, 0.95]),
        ([0.1, 1, 0.1, 0.05005, 1e-4], [0.95, 0.85, 0.95, 0.95, 0.95]),
    ):
        measured = trace(partial(OneCycle, total_steps=len(rates)), len(rates))
        assert measured[0][:, 0] == pytest.approx(rates, rel=1e-12)
        assert measured[1] == pytest.approx(momenta, rel=1e-12)
