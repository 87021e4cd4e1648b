"""Rates of a step are those at which each replica's own optimizer would take it."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from src.datamodules.batch_order import BatchOrder
from src.replicas.log import Log
from src.replicas.rates import Rates
from src.replicas.replica import Replica
from src.schedules.one_cycle import OneCycle
from src.schedules.step import Step


def replica(optimizer, schedule, tmp_path: Path) -> Replica:
    net = nn.Linear(2, 2)
    own = optimizer(net.parameters())
    its = schedule(own) if schedule else None
    return Replica(net, own, its, [], BatchOrder(4, 2), tmp_path, Log(tmp_path))


def torchs(optimizer: Optimizer, schedule, steps: int) -> list[tuple[float, float, float]]:
    """(rate, momentum, weight decay) that an optimizer has at each step, moved by its schedule."""
    found = []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        found.append((group["lr"], group.get("momentum", group.get("betas", (0,))[0]), group["weight_decay"]))
        optimizer.step()
        if schedule:
            schedule.step()
    return found


@pytest.mark.parametrize(
    "schedule",
    [None, partial(OneCycle, total_steps=20), partial(Step, every_epochs=2, steps_per_epoch=3, factor=0.5)],
    ids=["constant", "one cycle", "step"],
)
@pytest.mark.parametrize("kind", [partial(SGD, momentum=0.7), partial(Adam, betas=(0.8, 0.9))], ids=["sgd", "adam"])
def test_rates_are_those_that_torch_would_take_the_step_at(schedule, kind, tmp_path):
    optimizers = [partial(kind, lr=0.1), partial(kind, lr=0.003, weight_decay=0.5)]
    replicas = [replica(optimizer, schedule, tmp_path) for optimizer in optimizers]
    own = []
    for optimizer in optimizers:
        built = optimizer(nn.Linear(2, 2).parameters())
        own.append(torchs(built, schedule(built) if schedule else None, 10))
    rates = Rates(replicas, range(4, 10))
    for step in range(4, 10):
        settings = rates.at(step)
        for row in range(2):
            found = (settings.rate[row], settings.momentum[row], settings.weight_decay[row])
            assert tuple(map(float, found)) == pytest.approx(own[row][step], rel=1e-12)
    rates.keep([1])
    assert rates.at(9).rate.shape == (1, 1)
    assert float(rates.at(9).weight_decay) == 0.5
    assert settings.rate.dtype == torch.float64
