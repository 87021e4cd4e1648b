"""The nets that benchmarks train: fully connected ones of several depths and widths, and a ResNet-18."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torchvision
from torch import Tensor, nn

from start_training.initializers.initialize import initialize_
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected


@dataclass(frozen=True)
class Case:
    """A net, the shape of its batch, and how many pairs of turns to time in each round."""

    name: str
    build: Callable[[], nn.Module]
    batch: tuple[int, ...]
    classes: int
    pairs: int
    goal: float | None = None  # the ratio that recording lengths should not exceed


def dense(depth: int, width: int, pairs: int, goal: float | None = None, *, batch: int = 1024) -> Case:
    """`depth` hidden layers of `width`, and inputs as wide."""
    build = partial(FullyConnected, width, 10, depth=depth, width=width)
    return Case(f"{depth} x {width}, batch {batch}", build, (batch, width), 10, pairs, goal)


def resnet(batch: int, size: int, pairs: int, goal: float | None = None) -> Case:
    """torchvision's ResNet-18 on images of size x size."""
    build = partial(torchvision.models.resnet18, weights=None)
    return Case(f"ResNet-18, batch {batch} of {size} x {size}", build, (batch, 3, size, size), 1000, pairs, goal)


def cases(device: str, *, quick: bool = False, compiled: bool = False) -> list[Case]:
    """Those that suit the device and the patience."""
    if device == "cuda":
        goal = 1.05 if compiled else None
        nets = [dense(10, 100, 20, goal), dense(50, 1000, 10, goal), resnet(256, 224, 5, 1.05)]
        return nets[:1] if quick else nets
    if compiled:
        return [dense(10, 100, 10)]
    if quick:
        return [dense(10, 100, 15), dense(10, 500, 2, 1.03)]
    slow = [dense(20, 500, 3, 1.03), dense(50, 1000, 1), resnet(32, 64, 4)]
    return [dense(10, 100, 40), dense(10, 500, 8, 1.03), *slow]


def build_twins(case: Case, device: str) -> tuple[list[nn.Module], tuple[Tensor, Tensor]]:
    """Two nets of equal weights, critical at initialization, and a batch of normal inputs with random classes."""
    generator = torch.Generator().manual_seed(0)
    net = case.build()
    initialize_(net, VarianceScaling(2.0), generator=generator)
    inputs = torch.randn(case.batch, generator=generator)
    targets = torch.randint(case.classes, case.batch[:1], generator=generator)
    return [copy.deepcopy(net).to(device), copy.deepcopy(net).to(device)], (inputs.to(device), targets.to(device))
