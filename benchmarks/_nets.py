"""Nets whose steps benchmarks time: fully connected nets, a ResNet-18, and a GPT-2-like net."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torchvision
from torch import Generator, Tensor, nn

from benchmarks._gpt import Gpt
from start_training.initializers.initialize import initialize_
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.classifier import Classifier
from start_training.models.fully_connected import FullyConnected

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TimedNet:
    """A kind of net and its batch.

    Attributes:
        kind: Kind of net as text.
        name: Kind of net and batch as text.
        build: Function of a generator that returns a new, initialized net.
        draw: Function of a generator that returns inputs and targets of a batch.
        classes: Number of classes.
        pairs: Number of pairs of turns to time in each round.
        goal: Largest ratio of step times with and without recording lengths; None without a goal.
    """

    kind: str
    name: str
    build: Callable[[Generator], nn.Module]
    draw: Callable[[Generator], Batch]
    classes: int
    pairs: int = 1
    goal: float | None = None

    def twins(self, device: str) -> tuple[list[nn.Module], Batch]:
        """Return two nets with equal weights, and a random batch."""
        generator = torch.Generator().manual_seed(0)
        net = self.build(generator)
        inputs, targets = self.draw(generator)
        return [copy.deepcopy(net).to(device) for _ in range(2)], (inputs.to(device), targets.to(device))

    def classifier(self, net: nn.Module, *, compiled: bool = False) -> Classifier:
        """Return the LightningModule that trains one of the twins by SGD."""
        if compiled:  # compilation happens at the first call, after callbacks register hooks; twins share no graph
            net.compile(isolate_recompiles=True)
        return Classifier(net, partial(torch.optim.SGD, lr=1e-3), classes=self.classes)


def dense(depth: int, width: int, pairs: int = 1, goal: float | None = None, *, batch: int = 1024) -> TimedNet:
    """Return a fully connected net with `depth` hidden layers of `width` units, and `width` inputs."""
    build = partial(_he_initialized, partial(FullyConnected, width, 10, depth=depth, width=width))
    draw = partial(_normal_inputs, (batch, width), 10)
    return TimedNet(f"{depth} x {width}", f"{depth} x {width}, batch {batch}", build, draw, 10, pairs, goal)


def resnet(batch: int, size: int, pairs: int = 1, goal: float | None = None) -> TimedNet:
    build = partial(_he_initialized, partial(torchvision.models.resnet18, weights=None))
    draw = partial(_normal_inputs, (batch, 3, size, size), 1000)
    name = f"ResNet-18, batch {batch} of {size} x {size}"
    return TimedNet("ResNet-18", name, build, draw, 1000, pairs, goal)


def gpt(
    pairs: int = 1, *, blocks: int = 12, width: int = 128, tokens: int = 64, vocabulary: int = 1000, batch: int = 16
) -> TimedNet:
    """Return a GPT-2-like net that predicts random tokens from random tokens."""
    build = partial(Gpt, vocabulary, tokens, blocks=blocks, width=width)
    draw = partial(_random_tokens, (batch, tokens), vocabulary)
    kind = f"GPT-2-like, {blocks} blocks x {width}"
    return TimedNet(kind, f"{kind}, batch {batch} of {tokens} tokens", build, draw, vocabulary, pairs)


def critical_net(inputs: int, depth: int, width: int, *, seed: int = 0) -> FullyConnected:
    """Return a fully connected ReLU net with 10 classes and He initialization, which is critical."""
    net = FullyConnected(inputs, 10, depth=depth, width=width)
    initialize_(net, VarianceScaling(2.0), generator=torch.Generator().manual_seed(seed))
    return net


def _he_initialized(build: Callable[[], nn.Module], generator: Generator) -> nn.Module:
    net = build()
    initialize_(net, VarianceScaling(2.0), generator=generator)
    return net


def _normal_inputs(shape: tuple[int, ...], classes: int, generator: Generator) -> Batch:
    return torch.randn(shape, generator=generator), torch.randint(classes, shape[:1], generator=generator)


def _random_tokens(shape: tuple[int, int], vocabulary: int, generator: Generator) -> Batch:
    inputs, targets = (torch.randint(vocabulary, shape, generator=generator) for _ in range(2))
    return inputs, targets
