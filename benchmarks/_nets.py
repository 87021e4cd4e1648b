"""Nets whose steps benchmarks time: fully connected nets of several depths and widths, and a ResNet-18."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torchvision
from torch import Tensor, nn

from start_training.initializers.initialize import initialize_
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.classifier import Classifier
from start_training.models.fully_connected import FullyConnected

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TimedNet:
    """A kind of net and the shape of its batch.

    Attributes:
        kind: Kind of net as text.
        name: Kind of net and batch as text.
        build: Function that returns a new net.
        batch: Shape of the inputs of a batch.
        classes: Number of classes.
        pairs: Number of pairs of turns to time in each round.
        goal: Largest ratio of step times with and without recording lengths; None without a goal.
    """

    kind: str
    name: str
    build: Callable[[], nn.Module]
    batch: tuple[int, ...]
    classes: int
    pairs: int = 1
    goal: float | None = None

    def twins(self, device: str) -> tuple[list[nn.Module], Batch]:
        """Return two He-initialized nets with equal weights, and a batch of normal inputs with random classes."""
        generator = torch.Generator().manual_seed(0)
        net = self.build()
        initialize_(net, VarianceScaling(2.0), generator=generator)
        inputs = torch.randn(self.batch, generator=generator).to(device)
        targets = torch.randint(self.classes, self.batch[:1], generator=generator).to(device)
        return [copy.deepcopy(net).to(device) for _ in range(2)], (inputs, targets)

    def classifier(self, net: nn.Module, *, compiled: bool = False) -> Classifier:
        """Return the LightningModule that trains one of the twins by SGD."""
        if compiled:  # compilation happens at the first call, after callbacks register hooks; twins share no graph
            net.compile(isolate_recompiles=True)
        return Classifier(net, partial(torch.optim.SGD, lr=1e-3), classes=self.classes)


def dense(depth: int, width: int, pairs: int = 1, goal: float | None = None, *, batch: int = 1024) -> TimedNet:
    """Return a fully connected net with `depth` hidden layers of `width` units, and `width` inputs."""
    build = partial(FullyConnected, width, 10, depth=depth, width=width)
    return TimedNet(f"{depth} x {width}", f"{depth} x {width}, batch {batch}", build, (batch, width), 10, pairs, goal)


def resnet(batch: int, size: int, pairs: int = 1, goal: float | None = None) -> TimedNet:
    build = partial(torchvision.models.resnet18, weights=None)
    name = f"ResNet-18, batch {batch} of {size} x {size}"
    return TimedNet("ResNet-18", name, build, (batch, 3, size, size), 1000, pairs, goal)


def critical_net(inputs: int, depth: int, width: int, *, seed: int = 0) -> FullyConnected:
    """Return a fully connected ReLU net with 10 classes and He initialization, which is critical."""
    net = FullyConnected(inputs, 10, depth=depth, width=width)
    initialize_(net, VarianceScaling(2.0), generator=torch.Generator().manual_seed(seed))
    return net
