"""Each row of a stack moves as torch's own optimizer moves a net, and their states are each other's."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from start_training.datamodules.batch_order import BatchOrder
from start_training.replicas.log import ReplicaLog
from start_training.replicas.optimizer import EpochSettings, StepSettings, stacked_optimizer
from start_training.replicas.replica import Replica

SHAPES = ((3, 2), (4,))
SIZES = [6, 4]
CLOSE = {"rtol": 1e-14, "atol": 1e-14}
RATES, MOMENTA, DECAYS, BETAS = (0.1, 0.02, 0.3), (0.9, 0.0, 0.5), (0.0, 0.1, 0.01), (0.999, 0.9, 0.99)
CASES = [
    (SGD, {}),
    (SGD, {"nesterov": True}),
    (SGD, {"dampening": 0.3, "maximize": True}),
    (Adam, {}),
    (Adam, {"amsgrad": True, "eps": 1e-3, "maximize": True}),
    (Adam, {"decoupled_weight_decay": True}),
    (AdamW, {}),
]


def optimizers(kind: type[Optimizer], settings: dict, dtype: torch.dtype) -> list[Optimizer]:
    torch.manual_seed(0)
    made = []
    momenta = (0.9, 0.2, 0.5) if settings.get("nesterov") else MOMENTA  # torch refuses it without momentum
    for rate, momentum, decay, beta in zip(RATES, momenta, DECAYS, BETAS, strict=True):
        own = {"momentum": momentum} if kind is SGD else {"betas": (momentum, beta)}
        parameters = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in SHAPES]
        made.append(kind(parameters, lr=rate, weight_decay=decay, **own, **settings))
    return made


def held(optimizer: Optimizer) -> list[torch.Tensor]:
    return optimizer.param_groups[0]["params"]


def settings_of(optimizers: list[Optimizer], factor: float = 1.0) -> StepSettings:
    groups = [each.param_groups[0] for each in optimizers]
    betas = [group.get("betas", (group.get("momentum"), 0)) for group in groups]
    rows = ([factor * group["lr"] for group in groups], [first for first, _ in betas],
            [group["weight_decay"] for group in groups], [second for _, second in betas])  # fmt: skip
    return StepSettings(*(torch.tensor(row, dtype=torch.float64).unsqueeze(1) for row in rows))


def parts(row: torch.Tensor) -> list[torch.Tensor]:
    return [part.view(shape) for part, shape in zip(row.split(SIZES), SHAPES, strict=True)]


def step_torchs(optimizers: list[Optimizer]) -> torch.Tensor:
    """A step of each at random gradients, which are returned, (R, P)."""
    for optimizer in optimizers:
        for parameter in held(optimizer):
            parameter.grad = torch.randn_like(parameter)
    gradients = [torch.cat([each.grad.flatten() for each in held(its)]) for its in optimizers]
    for optimizer in optimizers:
        optimizer.step()
    return torch.stack(gradients)


def flat(optimizers: list[Optimizer]) -> torch.Tensor:
    return torch.stack([torch.cat([each.detach().flatten() for each in held(its)]) for its in optimizers])


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=str)
def test_rows_move_as_nets_do_and_their_states_are_each_others(kind, settings):
    """What a stack exports, torch's optimizer would have; what a stack loads, it goes on from, less a row, too."""
    own = optimizers(kind, settings, torch.float64)
    parameters = flat(own)
    first = stacked_optimizer(own[0], parameters)
    for _ in range(3):
        first.steps += 1
        first.step_(parameters, step_torchs(own), settings_of(own))
        torch.testing.assert_close(parameters, flat(own), **CLOSE)
    for row, optimizer in enumerate(own):
        copied = kind([each.detach().clone().requires_grad_() for each in held(optimizer)])
        copied.param_groups[0].update({k: v for k, v in optimizer.param_groups[0].items() if k != "params"})
        first.export(copied, {name: parts(state[row]) for name, state in first.states.items()}, first.steps)
        torch.testing.assert_close(copied.state_dict(), optimizer.state_dict(), **CLOSE)
    second = stacked_optimizer(own[0], parameters, steps=3)
    for row, optimizer in enumerate(own):
        second.load(optimizer, {name: parts(state[row]) for name, state in second.states.items()})
    second.keep(torch.tensor([0, 2]))
    own, parameters = [own[0], own[2]], parameters[[0, 2]]
    for factor in (1.0, 1.0, 1 + 1e-9):
        second.steps += 1
        second.step_(parameters, step_torchs(own), settings_of(own, factor))
        same = torch.allclose(parameters, flat(own), **CLOSE)
        assert same is (factor == 1)  # a rate that is a billionth off would be noticed


def test_part_by_part_they_move_as_nets_do_also_in_single_precision():
    own = optimizers(AdamW, {"amsgrad": True}, torch.float32)
    parameters = flat(own)
    together = stacked_optimizer(own[0], parameters)
    for _ in range(4):
        gradients = step_torchs(own)
        together.steps += 1
        for rows in (slice(0, 1), slice(1, 3)):
            of_rows = settings_of(own).map(lambda column, rows=rows: column[rows])
            for columns in (slice(0, 7), slice(7, 10)):
                together.step_(parameters, gradients[rows, columns], of_rows, (rows, columns))
        torch.testing.assert_close(parameters, flat(own), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1)])
def test_what_no_replica_has_is_left_out(momentum, decay, tmp_path):
    replicas = []
    for own in ({}, {"momentum": momentum, "weight_decay": decay}):  # of which one has it
        net = nn.Linear(2, 2, dtype=torch.float64)
        its = SGD(net.parameters(), lr=0.1, **own)
        replicas.append(Replica(net, its, None, [], BatchOrder(4, 2), tmp_path, ReplicaLog(tmp_path)))
    settings, nets = EpochSettings(replicas, range(2)).at(1), [replica.optimizer for replica in replicas]
    assert (settings.has_momentum, settings.has_weight_decay) == (momentum > 0, decay > 0)
    parameters = flat(nets)
    together = stacked_optimizer(nets[0], parameters)
    for _ in range(2):
        together.steps += 1
        together.step_(parameters, step_torchs(nets), settings)
        torch.testing.assert_close(parameters, flat(nets), **CLOSE)
    assert bool(together.states["momentum_buffer"].any()) == settings.has_momentum
