"""Each row of a stack moves as torch's own optimizer moves a net, and their states are each other's."""

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from src.replicas.optimizer import Settings, stacked

SHAPES = ((3, 2), (4,))
SIZES = [6, 4]
RATES, MOMENTA, DECAYS, BETAS = (0.1, 0.02, 0.3), (0.9, 0.0, 0.5), (0.0, 0.1, 0.01), (0.999, 0.9, 0.99)
CASES = [
    (SGD, {}),
    (SGD, {"nesterov": True}),
    (SGD, {"dampening": 0.3}),
    (SGD, {"maximize": True}),
    (Adam, {}),
    (Adam, {"amsgrad": True, "eps": 1e-3}),
    (Adam, {"maximize": True}),
    (Adam, {"decoupled_weight_decay": True}),
    (AdamW, {}),
    (AdamW, {"amsgrad": True}),
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


def settings_of(optimizers: list[Optimizer], factor: float = 1.0) -> Settings:
    groups = [each.param_groups[0] for each in optimizers]
    rows = [[factor * group["lr"] for group in groups],
            [group["momentum"] if "momentum" in group else group["betas"][0] for group in groups],
            [group["weight_decay"] for group in groups],
            [group.get("betas", (0, 0))[1] for group in groups]]  # fmt: skip
    return Settings(*(torch.tensor(row, dtype=torch.float64).unsqueeze(1) for row in rows))


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


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)], ids=str)
@pytest.mark.parametrize(("kind", "settings"), CASES, ids=str)
def test_rows_move_as_nets_do(kind, settings, dtype, tolerance):
    own = optimizers(kind, settings, dtype)
    parameters = flat(own)
    together = stacked(own[0], parameters)
    for _ in range(6):
        gradients = step_torchs(own)
        together.begin()
        together.step_(parameters, gradients, settings_of(own))
        torch.testing.assert_close(parameters, flat(own), rtol=tolerance, atol=tolerance)
    one_less = settings_of(own, 1 + 1e-4)
    together.begin()
    together.step_(parameters, step_torchs(own), one_less)
    assert not torch.allclose(parameters, flat(own), rtol=tolerance, atol=tolerance)  # of another rate: the control


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=str)
def test_states_go_back_and_forth(kind, settings):
    """What a stack exports, torch's optimizer would have; what a stack loads, it goes on from, less a row, too."""
    own = optimizers(kind, settings, torch.float64)
    parameters = flat(own)
    first = stacked(own[0], parameters)
    for _ in range(3):
        first.begin()
        first.step_(parameters, step_torchs(own), settings_of(own))
    for row, optimizer in enumerate(own):
        copied = kind([each.detach().clone().requires_grad_() for each in held(optimizer)])
        copied.param_groups[0].update({k: v for k, v in optimizer.param_groups[0].items() if k != "params"})
        first.export(copied, {name: parts(state[row]) for name, state in first.states.items()}, first.steps)
        torch.testing.assert_close(copied.state_dict(), optimizer.state_dict(), rtol=1e-14, atol=1e-14)
    second = stacked(own[0], parameters, steps=3)
    for row, optimizer in enumerate(own):
        second.load(optimizer, {name: parts(state[row]) for name, state in second.states.items()})
    second.keep(torch.tensor([0, 2]))
    own, parameters = [own[0], own[2]], parameters[[0, 2]]
    for _ in range(3):
        second.begin()
        second.step_(parameters, step_torchs(own), settings_of(own))
        torch.testing.assert_close(parameters, flat(own), rtol=1e-14, atol=1e-14)
