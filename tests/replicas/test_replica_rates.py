"""Rates of a step are those at which each replica's own optimizer would take it."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from src.datamodules.batch_order import BatchOrder
from src.replicas.log import Log
from src.replicas.rates import Rates
from src.replicas.replica import Replica
from src.schedules.one_cycle import OneCycle
from src.schedules.step import Step

ONE_CYCLE = partial(OneCycle, total_steps=20, momentum=[0.9, 0.5])  # moves momenta, too
STEPS = partial(Step, every_epochs=2, steps_per_epoch=3, factor=0.5)


def torchs(optimizer, schedule, steps: int) -> list[tuple[float, float, float]]:
    """(rate, momentum, weight decay) that an optimizer has at each step, moved by its schedule."""
    built = optimizer(nn.Linear(2, 2).parameters())
    moving, found = schedule(built) if schedule else None, []
    for _ in range(steps):
        group = built.param_groups[0]
        found.append((group["lr"], group.get("momentum", group.get("betas", (0,))[0]), group["weight_decay"]))
        built.step()
        if moving:
            moving.step()
    return found


@pytest.mark.parametrize("schedule", [None, ONE_CYCLE, STEPS], ids=["constant", "one cycle", "step"])
@pytest.mark.parametrize("kind", [partial(SGD, momentum=0.7), partial(Adam, betas=(0.8, 0.9))], ids=["sgd", "adam"])
def test_rates_are_those_that_torch_would_take_the_step_at(schedule, kind, tmp_path: Path):
    optimizers = [partial(kind, lr=0.1), partial(kind, lr=0.003, weight_decay=0.5)]
    own, replicas = [torchs(optimizer, schedule, 10) for optimizer in optimizers], []
    for optimizer in optimizers:
        net = nn.Linear(2, 2)
        its = optimizer(net.parameters())
        its_schedule = schedule(its) if schedule else None
        replicas.append(Replica(net, its, its_schedule, [], BatchOrder(4, 2), tmp_path, Log(tmp_path)))
    rates = Rates(replicas, range(4, 10))
    for step in range(4, 10):
        settings = rates.at(step)
        for row in range(2):
            found = (settings.rate[row], settings.momentum[row], settings.weight_decay[row])
            assert tuple(map(float, found)) == pytest.approx(own[row][step], rel=1e-12)
            group = replicas[row].set_step(step)  # what a checkpoint of that step would hold
            momentum = group.get("momentum", group.get("betas", (0,))[0])
            assert (group["lr"], momentum) == pytest.approx(own[row][step][:2], rel=1e-12)
        assert settings.moving and settings.decaying and settings.rate.dtype == torch.float64
    rates.keep([1])
    assert rates.at(9).rate.shape == (1, 1)
    assert float(rates.at(9).weight_decay) == 0.5


def test_what_no_replica_has_takes_no_time(tmp_path: Path):
    for momentum, decay in ((0.0, 0.0), (0.9, 0.0), (0.0, 0.1)):
        replicas = []
        for own in ({}, {"momentum": momentum, "weight_decay": decay}):  # of which one has it
            its = SGD(nn.Linear(2, 2).parameters(), lr=0.1, **own)
            replicas.append(Replica(nn.Linear(2, 2), its, None, [], BatchOrder(4, 2), tmp_path, Log(tmp_path)))
        settings = Rates(replicas, range(2)).at(1)
        assert (settings.moving, settings.decaying) == (momentum > 0, decay > 0)
