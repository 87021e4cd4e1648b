"""Stacked optimizers give the parameters and states of torch's optimizers, which can load each other's states."""

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
    momenta = (0.9, 0.2, 0.5) if settings.get("nesterov") else MOMENTA  # torch requires momentum with nesterov
    for rate, momentum, decay, beta in zip(RATES, momenta, DECAYS, BETAS, strict=True):
        moments = {"momentum": momentum} if kind is SGD else {"betas": (momentum, beta)}
        parameters = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in SHAPES]
        made.append(kind(parameters, lr=rate, weight_decay=decay, **moments, **settings))
    return made


def parameters_of(optimizer: Optimizer) -> list[torch.Tensor]:
    return optimizer.param_groups[0]["params"]


def name_group_in_errors(optimizers: list[Optimizer], factor: float = 1.0) -> StepSettings:
    groups = [optimizer.param_groups[0] for optimizer in optimizers]
    betas = [group.get("betas", (group.get("momentum"), 0)) for group in groups]
    rows = ([factor * group["lr"] for group in groups], [first for first, _ in betas],
            [group["weight_decay"] for group in groups], [second for _, second in betas])  # fmt: skip
    return StepSettings(*(torch.tensor(row, dtype=torch.float64).unsqueeze(1) for row in rows))


def parts(row: torch.Tensor) -> list[torch.Tensor]:
    return [part.view(shape) for part, shape in zip(row.split(SIZES), SHAPES, strict=True)]


def step_torchs(optimizers: list[Optimizer]) -> torch.Tensor:
    """Step all optimizers with random gradients, and return the gradients, shape (R, P)."""
    for optimizer in optimizers:
        for parameter in parameters_of(optimizer):
            parameter.grad = torch.randn_like(parameter)
    gradients = [torch.cat([tensor.grad.flatten() for tensor in parameters_of(optimizer)]) for optimizer in optimizers]
    for optimizer in optimizers:
        optimizer.step()
    return torch.stack(gradients)


def flat(optimizers: list[Optimizer]) -> torch.Tensor:
    return torch.stack(
        [torch.cat([tensor.detach().flatten() for tensor in parameters_of(optimizer)]) for optimizer in optimizers]
    )


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=str)
def test_rows_and_states_equal_those_of_torchs_optimizers(kind, settings):
    """Exported states equal those of torch; training continues from loaded states, also after a row is dropped."""
    reference = optimizers(kind, settings, torch.float64)
    parameters = flat(reference)
    first = stacked_optimizer(reference[0], parameters)
    for _ in range(3):
        first.steps += 1
        first.step_(parameters, step_torchs(reference), name_group_in_errors(reference))
        torch.testing.assert_close(parameters, flat(reference), **CLOSE)
    for row, optimizer in enumerate(reference):
        copied = kind([tensor.detach().clone().requires_grad_() for tensor in parameters_of(optimizer)])
        copied.param_groups[0].update({k: v for k, v in optimizer.param_groups[0].items() if k != "params"})
        first.export(copied, {name: parts(state[row]) for name, state in first.states.items()}, first.steps)
        torch.testing.assert_close(copied.state_dict(), optimizer.state_dict(), **CLOSE)
    second = stacked_optimizer(reference[0], parameters, steps=3)
    for row, optimizer in enumerate(reference):
        second.load(optimizer, {name: parts(state[row]) for name, state in second.states.items()})
    second.keep(torch.tensor([0, 2]))
    reference, parameters = [reference[0], reference[2]], parameters[[0, 2]]
    for factor in (1.0, 1.0, 1 + 1e-9):
        second.steps += 1
        second.step_(parameters, step_torchs(reference), name_group_in_errors(reference, factor))
        same = torch.allclose(parameters, flat(reference), **CLOSE)
        assert same is (factor == 1)  # a rate off by a billionth is detected


def test_updates_in_parts_equal_torchs_optimizers_in_single_precision():
    reference = optimizers(AdamW, {"amsgrad": True}, torch.float32)
    parameters = flat(reference)
    together = stacked_optimizer(reference[0], parameters)
    for _ in range(4):
        gradients = step_torchs(reference)
        together.steps += 1
        for rows in (slice(0, 1), slice(1, 3)):
            of_rows = name_group_in_errors(reference).map(lambda column, rows=rows: column[rows])
            for columns in (slice(0, 7), slice(7, 10)):
                together.step_(parameters, gradients[rows, columns], of_rows, (rows, columns))
        torch.testing.assert_close(parameters, flat(reference), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1)])
def test_arithmetic_that_no_replica_needs_is_skipped(momentum, decay, tmp_path):
    replicas = []
    for settings_of_net in ({}, {"momentum": momentum, "weight_decay": decay}):  # one of two replicas has it
        net = nn.Linear(2, 2, dtype=torch.float64)
        optimizer = SGD(net.parameters(), lr=0.1, **settings_of_net)
        replicas.append(Replica(net, optimizer, None, [], BatchOrder(4, 2), tmp_path, ReplicaLog(tmp_path)))
    settings, nets = EpochSettings(replicas, range(2)).at(1), [replica.optimizer for replica in replicas]
    assert (settings.has_momentum, settings.has_weight_decay) == (momentum > 0, decay > 0)
    parameters = flat(nets)
    together = stacked_optimizer(nets[0], parameters)
    for _ in range(2):
        together.steps += 1
        together.step_(parameters, step_torchs(nets), settings)
        torch.testing.assert_close(parameters, flat(nets), **CLOSE)
    assert bool(together.states["momentum_buffer"].any()) == settings.has_momentum
