"""Every schedule at every step: against slow, obvious references, against torch's, and on any optimizer."""

import io
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from src.schedules.cosine import Cosine
from src.schedules.inverse import Inverse
from src.schedules.one_cycle import OneCycle
from src.schedules.schedule import Schedule, interpolate
from src.schedules.step import Step
from src.schedules.triangular import Triangular
from tests.schedules.tracing import optimizer_of, trace

LENGTHS = [*range(1, 40), 63, 100, 101, 999, 1000]
SCHEDULES = {
    "one_cycle": partial(OneCycle, total_steps=40),
    "triangular": partial(Triangular, total_steps=40, steps_per_epoch=5, cycle_epochs=2.5),
    "step": partial(Step, steps_per_epoch=5, every_epochs=2, factor=0.3),
    "cosine": partial(Cosine, total_steps=40),
    "inverse": Inverse,
}
EVERY_SCHEDULE = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@pytest.mark.parametrize("cycle_steps", [1, 2, 3, 7, 10, 50])
@pytest.mark.parametrize("cycles", [1, 2.6])
def test_triangular_is_straight_between_whole_steps(cycle_steps, cycles):
    steps = math.ceil(cycles * cycle_steps)
    cyclical = partial(Triangular, total_steps=steps, steps_per_epoch=cycle_steps, cycle_epochs=1)
    rates, momenta = trace(cyclical, steps)
    leg = max(1, round(cycle_steps / 2))
    corners = leg * np.arange(steps + 2)
    high = np.arange(steps + 2) % 2
    assert rates[:, 0] == pytest.approx(np.interp(np.arange(steps), corners, np.where(high, 1, 0.1)), abs=1e-12)
    assert momenta == pytest.approx(np.interp(np.arange(steps), corners, np.where(high, 0.85, 0.95)), abs=1e-12)
    assert set(rates[leg :: 2 * leg, 0]) <= {1.0}
    assert set(rates[:: 2 * leg, 0]) == {0.1}
    assert set(momenta[:: 2 * leg]) == {0.95}


@pytest.mark.parametrize("steps", LENGTHS)
def test_cosine_is_torchs(steps):
    rates, momenta = trace(partial(Cosine, total_steps=steps, end=0.01), steps)
    torchs, _ = trace(partial(CosineAnnealingLR, T_max=max(1, steps - 1), eta_min=0.01), steps)
    assert rates == pytest.approx(torchs, rel=1e-9)  # torch's is a recursion
    assert (rates[0, 0], rates[-1, 0]) == (1, 0.01 if steps > 1 else 1)
    assert set(momenta) == {0.9}


@pytest.mark.parametrize("epochs", [1, 3, 0.5])
def test_step_is_torchs(epochs):
    rates, _ = trace(partial(Step, steps_per_epoch=8, every_epochs=epochs, factor=0.5), 100)
    torchs, _ = trace(partial(StepLR, step_size=int(8 * epochs), gamma=0.5), 100)
    assert rates == pytest.approx(torchs, rel=1e-12)


def test_inverse_is_caffes():
    rates, _ = trace(partial(Inverse, gamma=1e-2, power=0.75), 100)
    assert rates[:, 0] == pytest.approx([(1 + 0.01 * step) ** -0.75 for step in range(100)], rel=1e-12)


@EVERY_SCHEDULE
def test_each_parameter_group_keeps_its_own_rate(schedule):
    one, _ = trace(schedule, 40)
    several, _ = trace(schedule, 40, optimizer_of(rates=(3.0, 0.2, 1e-5), momentum=0.9))
    assert several == pytest.approx(one * [3.0, 0.2, 1e-5], rel=1e-12)
    assert several.max(0) == pytest.approx([3.0, 0.2, 1e-5])  # optimizer.lr is the largest


@EVERY_SCHEDULE
def test_adams_beta1_goes_as_sgds_momentum(schedule):
    rates, momenta = trace(schedule, 40)
    for kind in (torch.optim.Adam, torch.optim.AdamW):
        optimizer = optimizer_of(kind)
        adams_rates, betas = trace(schedule, 40, optimizer)
        assert (adams_rates == rates).all()
        assert (betas == momenta).all()
        assert optimizer.param_groups[0]["betas"][1] == 0.999


@pytest.mark.parametrize("name", ["one_cycle", "triangular"])
def test_momentum_is_the_optimizers_where_none_is_asked_for(name):
    _, momenta = trace(partial(SCHEDULES[name], momentum=None), 40, optimizer_of(momentum=0.7))
    assert set(momenta) == {0.7}
    rates, _ = trace(partial(SCHEDULES[name], momentum=None), 40, optimizer_of(torch.optim.Adagrad))
    assert rates.max() == 1


@EVERY_SCHEDULE
@pytest.mark.parametrize("stop", [0, 1, 17, 39])
def test_a_resumed_schedule_goes_on(schedule, stop):
    """From state that torch loads with weights_only."""
    whole, optimizer = trace(schedule, 40), optimizer_of(momentum=0.9)
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

    rest = trace(resume, 40 - stop)
    for one, other in zip(whole, rest, strict=True):
        assert (one[stop:] == other).all()


@EVERY_SCHEDULE
def test_past_the_end_the_rate_stays_in_its_range(schedule):
    rates, momenta = trace(schedule, 100)
    assert ((rates > 0) & (rates <= 1)).all()
    assert ((momenta >= 0.85) & (momenta <= 0.95)).all()


class Warmup(Schedule):
    """A user's own: linear over a quarter of the run."""

    def __init__(self, optimizer, *, total_steps, start=0.1):
        self.total_steps, self.start = total_steps, start
        super().__init__(optimizer)

    def share(self, step):
        return interpolate([(0, self.start), (self.total_steps // 4, 1.0)], step)


def test_a_schedule_of_ones_own_is_a_class_with_a_share():
    rates, _ = trace(partial(Warmup, total_steps=20), 20)
    assert rates[:, 0] == pytest.approx(np.interp(np.arange(20), [0, 5], [0.1, 1]))
    state = Warmup(optimizer_of(), total_steps=20).state_dict()
    assert state == {"schedule": "Warmup", "last_epoch": 0, "total_steps": 20, "start": 0.1, "momentum": None}


CYCLE, EPOCHS = {"total_steps": 40}, {"total_steps": 40, "steps_per_epoch": 5}
NUMBER, SHARE = "must be a number above 0", "must be a share of optimizer.lr, above 0 and at most 1"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(OneCycle, **CYCLE, start=0), f"start = 0: {NUMBER}"),
        (partial(OneCycle, **CYCLE, start=1.5), f"start = 1.5: {SHARE}"),
        (partial(OneCycle, **CYCLE, end=2), "end = 2: must be a share of optimizer.lr, at least 0 and at most 1"),
        (partial(OneCycle, **CYCLE, end=math.nan), "end = nan: must be a number of at least 0"),
        (partial(OneCycle, **CYCLE, cycle=1.2), "cycle = 1.2: must be the cycle's share of the run, above 0 and at"),
        (partial(OneCycle, **CYCLE, cycle="long"), "cycle = 'long': must be the cycle's share of the run"),
        (partial(OneCycle, **CYCLE, momentum=[0.85, 0.95]), "momentum = [0.85, 0.95]: must be no lower at the lowest"),
        (partial(OneCycle, **CYCLE, momentum=[1, 0.9]), "momentum = 1: must be a fraction, at least 0 and below 1"),
        (partial(OneCycle, **CYCLE, momentum=[0.9]), "momentum = [0.9]: must be two numbers"),
        (partial(OneCycle, **CYCLE, momentum=0.9), "momentum = 0.9: must be two numbers"),
        (partial(OneCycle, total_steps=math.inf), "total_steps = inf: must be known here; set trainer.max_epochs, "),
        (partial(OneCycle, total_steps=-1), "total_steps = -1: must be known here"),
        (partial(Cosine, total_steps=math.inf), "total_steps = inf: must be known here"),
        (partial(Triangular, **EPOCHS, cycle_epochs=9), "cycle_epochs = 9: longer than the run, which has 8"),
        (partial(Triangular, **EPOCHS, cycle_epochs=0), f"cycle_epochs = 0: {NUMBER}"),
        (partial(Triangular, total_steps=9, steps_per_epoch=math.inf), "steps_per_epoch = inf: must be known here"),
        (partial(Step, steps_per_epoch=5, every_epochs=0, factor=0.1), f"every_epochs = 0: {NUMBER}"),
        (partial(Step, steps_per_epoch=5, every_epochs=1, factor=2), f"factor = 2: {SHARE}"),
        (partial(Inverse, gamma=-1), f"gamma = -1: {NUMBER}"),
        (partial(Inverse, power=-1), "power = -1: must be a number of at least 0"),
    ],
)
def test_a_setting_no_run_could_use_is_a_mistake(build, message):
    with pytest.raises(ValueError) as raised:
        build(optimizer_of(momentum=0.9))
    assert str(raised.value).startswith(message)


def test_an_optimizer_without_momentum_has_none_to_cycle():
    with pytest.raises(ValueError, match=r"momentum = \[0.95, 0.85\]: Adagrad has none to cycle; null leaves it out"):
        OneCycle(optimizer_of(torch.optim.Adagrad), **CYCLE)
