"""Tests of every schedule at every step: against simple references, against torch's schedulers, on any optimizer."""

import io
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from start_training.schedules.cosine import Cosine
from start_training.schedules.inverse import Inverse
from start_training.schedules.one_cycle import OneCycle
from start_training.schedules.schedule import Schedule, interpolate, momentum_of
from start_training.schedules.step import Step
from start_training.schedules.triangular import Triangular

SCHEDULES = {
    "one_cycle": partial(OneCycle, total_steps=40),
    "triangular": partial(Triangular, total_steps=40, steps_per_epoch=5, cycle_epochs=2.5),
    "step": partial(Step, steps_per_epoch=5, every_epochs=2, factor=0.3),
    "cosine": partial(Cosine, total_steps=40),
    "warm-up and cosine": partial(Cosine, total_steps=40, warmup=0.1),
    "inverse": Inverse,
}
EVERY_SCHEDULE = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def optimizer_of(kind=torch.optim.SGD, *, rates=(1.0,), **settings):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return kind(groups, **({"momentum": 0.9} if kind is torch.optim.SGD else {}) | settings)


def trace(schedule, steps, optimizer=None):
    """Return the rates (steps, groups) and momenta (steps,) of an optimizer, read before each of its steps."""
    optimizer = optimizer or optimizer_of()
    scheduler, rates, momenta = schedule(optimizer), [], []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        momenta.append(momentum_of(optimizer.param_groups[0]))
        optimizer.step()
        scheduler.step()
    return np.array(rates), np.array(momenta, dtype=float)


@given(steps=st.integers(6, 1000), cycle=st.floats(0.5, 1))
def test_one_cycle_is_piecewise_linear_with_corners_on_steps(steps, cycle):
    """Both halves have the length that `cycle` gives, up to rounding and one step for the decay."""
    schedule, last = OneCycle(optimizer_of(), total_steps=steps, cycle=cycle), steps - 1
    for of_step, low, top, end in ((schedule.share, 0.1, 1, 1e-4), (schedule.momentum_at, 0.95, 0.85, 0.95)):
        values = np.array([of_step(step) for step in range(steps)])
        peak = int(np.argmax(np.abs(values - low)))
        assert 2 * peak < last and abs(2 * peak - cycle * last) <= 2
        assert (values[0], values[peak], values[last]) == (low, top, end)
        straight = np.interp(np.arange(steps), [0, peak, 2 * peak, last], [low, top, low, end])
        assert values == pytest.approx(straight, abs=1e-12)
        assert of_step(steps) == of_step(5 * steps) == end


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


@given(cycle_steps=st.integers(1, 60), cycles=st.floats(1, 4), epochs=st.sampled_from([1, 0.5, 2]))
def test_triangular_is_piecewise_linear_with_corners_on_steps(cycle_steps, cycles, epochs):
    steps, leg = math.ceil(cycles * cycle_steps), max(1, round(cycle_steps / 2))
    of_epoch = math.ceil(cycle_steps / epochs)
    if of_epoch * epochs != cycle_steps:
        of_epoch, epochs = cycle_steps, 1
    schedule = Triangular(optimizer_of(), total_steps=steps, steps_per_epoch=of_epoch, cycle_epochs=epochs)
    corners, high = leg * np.arange(steps + 2), np.arange(steps + 2) % 2
    for of_step, low, top in ((schedule.share, 0.1, 1.0), (schedule.momentum_at, 0.95, 0.85)):
        values = np.array([of_step(step) for step in range(steps)])
        assert values == pytest.approx(np.interp(np.arange(steps), corners, np.where(high, top, low)), abs=1e-12)
        assert set(values[leg :: 2 * leg]) <= {top}
        assert set(values[:: 2 * leg]) == {low}


@pytest.mark.parametrize("steps", [1, 2, 101])
def test_cosine_and_step_equal_the_schedulers_of_torch(steps):
    rates, momenta = trace(partial(Cosine, total_steps=steps, end=0.01), steps)
    torchs, _ = trace(partial(CosineAnnealingLR, T_max=max(1, steps - 1), eta_min=0.01), steps)
    assert rates == pytest.approx(torchs, rel=1e-9)  # torch's is a recursion
    assert (rates[0, 0], rates[-1, 0]) == (1, 0.01 if steps > 1 else 1)
    assert set(momenta) == {0.9}
    for epochs in 1, 3, 0.5:
        rates, _ = trace(partial(Step, steps_per_epoch=8, every_epochs=epochs, factor=0.5), steps)
        torchs, _ = trace(partial(StepLR, step_size=int(8 * epochs), gamma=0.5), steps)
        assert rates == pytest.approx(torchs, rel=1e-12)


def test_a_cosine_with_warm_up_rises_linearly_then_falls_as_one_without():
    shares = [Cosine(optimizer_of(), total_steps=20, end=0.01, warmup=0.2).share(step) for step in range(20)]
    without = [Cosine(optimizer_of(), total_steps=16, end=0.01).share(step) for step in range(16)]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, *without])


def test_inverse_is_the_formula_of_caffe():
    share = Inverse(optimizer_of(), gamma=1e-2, power=0.75).share
    assert [share(0), share(100), share(1500)] == pytest.approx([1, 2**-0.75, 2**-3])
    assert Inverse(optimizer_of()).share(10_000) == pytest.approx(2**-0.75)  # the settings of Caffe's LeNet example


@EVERY_SCHEDULE
def test_each_step_has_its_share_of_the_learning_rate_of_each_parameter_group(schedule):
    expected = schedule(optimizer_of())
    shares = np.array([expected.share(step) for step in range(50)])
    momenta = [expected.momentum_at(step) or 0.9 for step in range(50)]
    assert shares.max() == 1  # optimizer.lr is the largest
    assert ((shares > 0) & (shares <= 1)).all()  # also past the end
    assert min(momenta) >= 0.85 and max(momenta) <= 0.95
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        optimizer = optimizer_of(kind, rates=(3.0, 0.2, 1e-5))
        traced = trace(schedule, 50, optimizer)
        assert traced[0] == pytest.approx(np.outer(shares, [3.0, 0.2, 1e-5]), rel=1e-12)
        assert traced[1][1:] == pytest.approx(momenta[1:], rel=1e-12)
        assert optimizer.param_groups[-1].get("betas", (0, 0.999))[1] == 0.999


@pytest.mark.parametrize("name", ["one_cycle", "triangular"])
def test_momentum_none_keeps_the_momentum_of_the_optimizer(name):
    _, momenta = trace(partial(SCHEDULES[name], momentum=None), 40, optimizer_of(momentum=0.7))
    assert set(momenta) == {0.7}
    with pytest.raises(ValueError, match=r"momentum = \[0.95, 0.85\]: Adagrad has no momentum; type schedule.momentum"):
        SCHEDULES[name](optimizer_of(torch.optim.Adagrad))


@EVERY_SCHEDULE
@pytest.mark.parametrize("stop", [0, 17, 39])
def test_a_resumed_schedule_continues_as_if_not_interrupted(schedule, stop):
    whole, optimizer = trace(schedule, 40), optimizer_of()
    scheduler = schedule(optimizer)
    for _ in range(stop):
        optimizer.step()
        scheduler.step()
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)

    def resume(optimizer):
        scheduler = schedule(optimizer)
        optimizer.load_state_dict(states[0])
        scheduler.load_state_dict(states[1])
        assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
        return scheduler

    for one, other in zip(whole, trace(resume, 40 - stop), strict=True):
        assert (one[stop:] == other).all()


class Warmup(Schedule):
    """A schedule written by a user: linear warm-up over a quarter of the run."""

    def __init__(self, optimizer, *, total_steps, start=0.1):
        self.total_steps, self.start = total_steps, start
        super().__init__(optimizer)

    def share(self, step):
        return interpolate([(0, self.start), (self.total_steps // 4, 1.0)], step)


def test_a_user_defined_schedule_needs_only_share_and_its_state_holds_its_settings():
    rates, _ = trace(partial(Warmup, total_steps=20), 20)
    assert rates[:, 0] == pytest.approx(np.interp(np.arange(20), [0, 5], [0.1, 1]))
    state = Warmup(optimizer_of(), total_steps=20).state_dict()
    assert state == {"schedule": "Warmup", "last_epoch": 0, "total_steps": 20, "start": 0.1, "momentum": None}


MISTAKES = [  # one example of each kind of error
    (partial(OneCycle, total_steps=40, start=1.01), "start = 1.01: must be a fraction of optimizer.lr, above 0 and at"),
    (partial(OneCycle, total_steps=40, end=1.01), "end = 1.01: must be a fraction of optimizer.lr, at least 0"),
    (partial(OneCycle, total_steps=40, cycle=1.01), "cycle = 1.01: must be a fraction of the run, above 0"),
    (partial(OneCycle, total_steps=40, momentum=[0.85, 0.95]), "momentum = [0.85, 0.95]: the first number (at"),
    (partial(OneCycle, total_steps=40, momentum="09"), "momentum = '09': must be two numbers"),
    (partial(OneCycle, total_steps=math.inf), "total_steps = inf: must be finite and at least 1, "),
    (partial(Triangular, total_steps=40, steps_per_epoch=5, cycle_epochs=8.1), "cycle_epochs = 8.1: must be at most"),
    (partial(Step, steps_per_epoch=5, every_epochs=1, factor=2), "factor = 2: must be a fraction of optimizer.lr"),
]


@pytest.mark.parametrize(("build", "message"), MISTAKES)
def test_a_setting_that_is_not_allowed_is_an_error(build, message):
    with pytest.raises(ValueError) as raised:
        build(optimizer_of())
    assert str(raised.value).startswith(message)


def test_settings_at_their_bounds_are_allowed():
    one = OneCycle(optimizer_of(), total_steps=40, start=1, end=0, cycle=1, momentum=[0.9, 0.9])
    assert (one.share(0), one.share(39), one.momentum_at(7)) == (1, 0, pytest.approx(0.9))
    Triangular(optimizer_of(), total_steps=40, steps_per_epoch=5, cycle_epochs=8)
    assert Inverse(optimizer_of(), power=0).share(9) == 1
    assert Step(optimizer_of(), steps_per_epoch=1, every_epochs=1, factor=1).share(9) == 1
