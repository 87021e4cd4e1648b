"""Nets that are functions of a place: SIREN, Fourier features, a physics-informed net, DeepONet."""

import math

import torch
from torch import Tensor, nn

from tests.zoo.net import family_of
from tests.zoo.parts import Detached, filled, glorot, mlp
from tests.zoo.tasks import OPERATORS, PICTURE, POISSON, SENSORS

WIDTH = 48


class Sine(nn.Module):
    """sin(ω · x)."""

    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sin(self.omega * inputs)


def siren(depth: int, omega: float, *, of_weights: float | None = 10.0) -> nn.Module:
    """A SIREN whose weights are drawn for the frequency `of_weights`; None: PyTorch's own initialization."""
    net = mlp([2, *[WIDTH] * depth, 1], lambda: Sine(omega))
    if of_weights is not None:
        for index, module in enumerate(net):
            if isinstance(module, nn.Linear):
                bound = 1 / 2 if index == 0 else math.sqrt(6 / WIDTH) / of_weights
                nn.init.uniform_(module.weight, -bound, bound)
    return net


class FourierFeatures(nn.Module):
    """Sines and cosines of random directions, fixed."""

    def __init__(self, scale: float, count: int = 32) -> None:
        super().__init__()
        self.register_buffer("directions", scale * torch.randn(2, count))

    def forward(self, points: Tensor) -> Tensor:
        angles = points @ self.directions
        return torch.cat([angles.sin(), angles.cos()], -1)


def fourier(scale: float) -> nn.Module:
    return nn.Sequential(FourierFeatures(scale), mlp([64, WIDTH, WIDTH, 1]))


class PhysicsInformed(nn.Module):
    """u″ of u(x) = (1 − x²) · net(x), which is 0 at ±1: the loss is the residual of Poisson's equation."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, points: Tensor) -> Tensor:
        with torch.enable_grad():  # the derivative by the place is needed for evaluation too
            points = points.detach().requires_grad_()
            values = (1 - points**2) * self.net(points)
            (slope,) = torch.autograd.grad(values.sum(), points, create_graph=True)
            if not slope.requires_grad:
                return torch.zeros_like(points)
            return torch.autograd.grad(slope.sum(), points, create_graph=True)[0]


def physics(depth: int, activation: type[nn.Module] = nn.Tanh, width: int = 24) -> nn.Module:
    return mlp([1, *[width] * depth, 1], activation)


class DeepOperator(nn.Module):
    """DeepONet: the inner product of a net of the function and a net of the place."""

    def __init__(self, branch: nn.Module, trunk: nn.Module) -> None:
        super().__init__()
        self.branch, self.trunk = branch, trunk
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, function: Tensor, place: Tensor) -> Tensor:
        return (self.branch(function) * self.trunk(place)).sum(-1, keepdim=True) + self.bias


def operator_net(fan_in: int) -> nn.Module:
    return mlp([fan_in, WIDTH, WIDTH, WIDTH], nn.GELU)


def dead_trunk() -> nn.Module:
    """The trunk's last layer gives a constant, whatever the place."""
    net = nn.Sequential(*mlp([1, WIDTH, WIDTH]), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
    return DeepOperator(operator_net(SENSORS), filled(net, "2.bias", -20.0))


NETS = family_of(
    "implicit",
    [
        ("siren_3", PICTURE, lambda: siren(3, 10.0), "", ""),
        ("siren_5", PICTURE, lambda: siren(5, 10.0), "", ""),
        ("fourier_features", PICTURE, lambda: fourier(4.0), "", ""),
        ("pinn_tanh_3", POISSON, lambda: PhysicsInformed(physics(3)), "", ""),
        ("pinn_glorot_6", POISSON, lambda: PhysicsInformed(glorot(physics(6))), "", ""),
        ("deep_operator", OPERATORS, lambda: DeepOperator(operator_net(SENSORS), operator_net(1)), "", ""),
        ("siren_omega_small", PICTURE, lambda: siren(5, 0.3), "wrong_omega", ""),
        ("siren_omega_large", PICTURE, lambda: siren(5, 300.0), "wrong_omega", ""),
        ("siren_torch_8", PICTURE, lambda: siren(8, 60.0, of_weights=None), "wrong_omega gain", ""),
        ("fourier_scale_large", PICTURE, lambda: fourier(1000.0), "wrong_omega", ""),
        ("pinn_sigmoid_16", POISSON, lambda: PhysicsInformed(physics(16, nn.Sigmoid)), "gain", ""),
        ("pinn_zero", POISSON, lambda: PhysicsInformed(filled(physics(3), "*", 0.0)), "zero", "no_gradient"),
        ("deep_operator_dead_trunk", OPERATORS, dead_trunk, "dead_bias", "dead"),
        ("deep_operator_detached", OPERATORS,
         lambda: DeepOperator(Detached(operator_net(SENSORS)), operator_net(1)), "detached", "detached"),
    ],
)  # fmt: skip
