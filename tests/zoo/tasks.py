"""What the nets of the zoo are trained on: fresh samples of fixed teachers without end; nothing can be memorized."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

CLASSES = 5
FEATURES = 20  # of vectors
TOKENS, TOKEN_FEATURES = 8, 16
SYMBOLS = 16  # of the language
NODES, NODE_FEATURES = 12, 8
SENSORS = 20  # of the functions that a DeepONet reads
PIXELS = 32  # of the vectors that generative nets model
POINT_FEATURES = 6  # of the points that flows model


@dataclass(frozen=True)
class Task:
    """Samples of a teacher, a loss, and the loss of the best prediction that ignores the input.

    Args:
        name: unique.
        sample: returns inputs (what the net takes as its one argument, or a tuple of its arguments) and targets.
        loss: maps outputs and targets to a scalar.
        chance: maps targets to the loss of the best constant prediction on them.
        steps: budget of a training.
        batch_size: samples per step.
    """

    name: str
    sample: Callable[[int, Generator], tuple[Any, Tensor]]
    loss: Callable[[Any, Tensor], Tensor]
    chance: Callable[[Tensor], float]
    steps: int = 300
    batch_size: int = 32

    def batch(self, count: int, seed: int) -> tuple[tuple[Any, ...], Tensor]:
        """Return the arguments of the net and the targets for fresh samples from a seed."""
        return self.draw(count, torch.Generator().manual_seed(seed))

    def draw(self, count: int, generator: Generator) -> tuple[tuple[Any, ...], Tensor]:
        """Return the arguments of the net and the targets for the next samples of a generator."""
        inputs, targets = self.sample(count, generator)
        return inputs if isinstance(inputs, tuple) else (inputs,), targets


def fixed(*shape: int, seed: int) -> Tensor:
    """Weights of a teacher."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the last axis of the logits."""
    return F.cross_entropy(outputs.float().flatten(0, -2), targets.flatten())


def _pixelwise(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs.movedim(1, -1), targets)


def entropy(targets: Tensor) -> float:
    """Cross-entropy of the frequencies of the classes."""
    shares = targets.flatten().bincount().double() / targets.numel()
    return float(-(shares * shares.clamp(min=1e-12).log()).sum())


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs.float(), targets)


def variance(targets: Tensor) -> float:
    """Squared error of the mean of each target over the samples."""
    return float(targets.var(0, unbiased=False).mean())


def evidence_bound(outputs: tuple[Tensor, Tensor, Tensor], targets: Tensor) -> Tensor:
    """Squared error of a reconstruction, and a hundredth of the divergence of the code from a standard normal."""
    reconstruction, mean, log_variance = outputs
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    return F.mse_loss(reconstruction.float(), targets) + 0.01 * divergence


def negative_log_likelihood(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """Nats per dimension of a flow: outputs are the standard-normal image and the log-determinant."""
    image, log_determinant = outputs
    nats = 0.5 * (image**2 + math.log(2 * math.pi)).sum(-1) - log_determinant
    return nats.mean() / targets.shape[-1]


def normal_entropy(targets: Tensor) -> float:
    """Nats per dimension of independent normals with the variances of the data."""
    return float(0.5 * (2 * math.pi * math.e * targets.var(0)).log().mean())


_VECTORS = fixed(FEATURES, CLASSES, seed=1)
_SECOND = fixed(FEATURES, CLASSES, seed=2)
_TOKEN = fixed(TOKEN_FEATURES, CLASSES, seed=3)
_CONTEXT = fixed(TOKEN_FEATURES, CLASSES, seed=4)
_NODE = fixed(NODE_FEATURES, CLASSES, seed=5)
_CHAIN = torch.softmax(2 * fixed(SYMBOLS, SYMBOLS, seed=6), -1)
_FACTORS = fixed(4, PIXELS, seed=7) / 2
_MIXING = fixed(2, POINT_FEATURES, seed=8)
_IDENTITY = fixed(4, 30, CLASSES, seed=9)  # of four categorical inputs with 30 values


def _vectors(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(count, FEATURES, generator=generator)
    return inputs, (inputs @ _VECTORS).argmax(-1)


def _pairs(count: int, generator: Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
    first, second = torch.randn(2, count, FEATURES, generator=generator)
    return (first, second), (first @ _VECTORS + second @ _SECOND).argmax(-1)


def _categories(count: int, generator: Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
    dense = torch.randn(count, FEATURES, generator=generator)
    sparse = torch.randint(30, (count, 4), generator=generator)
    effects = sum(_IDENTITY[i, sparse[:, i]] for i in range(4))
    return (dense, sparse), (dense @ _VECTORS + effects).argmax(-1)


def _gratings(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Images of 3 × 8 × 8: a grating in one of four directions, with a random phase, in noise."""
    targets = torch.randint(4, (count,), generator=generator)
    angle, phase = (targets * math.pi / 4)[:, None, None], 2 * math.pi * torch.rand(count, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    grating = torch.sin(math.pi / 2 * (angle.cos() * x + angle.sin() * y) + phase)
    return 1.2 * grating[:, None] + 0.6 * torch.randn(count, 3, 8, 8, generator=generator), targets


def _regions(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Images of 3 × 8 × 8, and for each pixel the sign of the mean of its neighbourhood in the first channel."""
    inputs = torch.randn(count, 3, 8, 8, generator=generator)
    return inputs, (F.avg_pool2d(inputs[:, 0], 3, 1, 1) > 0).long()


def _sequences(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Tokens with a class each, which depends on the token and a little on the mean of all."""
    tokens = torch.randn(count, TOKENS, TOKEN_FEATURES, generator=generator)
    return tokens, (tokens @ _TOKEN + tokens.mean(1, keepdim=True) @ _CONTEXT).argmax(-1)


def _two_sequences(count: int, generator: Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Source and target tokens; the class of a target token depends on it and on the mean of the source."""
    source, target = torch.randn(2, count, TOKENS, TOKEN_FEATURES, generator=generator)
    context = source.mean(1, keepdim=True) * TOKENS**0.5
    return (source, target), (target @ _TOKEN + context @ _CONTEXT).argmax(-1)


def _language(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Symbols of a fixed Markov chain, and the next symbol of each."""
    symbols = [torch.randint(SYMBOLS, (count,), generator=generator)]
    for _ in range(16):
        symbols.append(torch.multinomial(_CHAIN[symbols[-1]], 1, generator=generator)[:, 0])
    text = torch.stack(symbols, 1)
    return text[:, :-1], text[:, 1:]


def _series(length: int) -> Callable[[int, Generator], tuple[Tensor, Tensor]]:
    def sample(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Vectors in time; the class at the end depends on their sum, the last quarter counting twice."""
        inputs = torch.randn(count, length, TOKEN_FEATURES, generator=generator)
        late = inputs[:, -(length // 4) :].sum(1)
        return inputs, ((inputs.sum(1) + late) @ _TOKEN).argmax(-1)

    return sample


def _recall(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Vectors in time, of which the first alone tells the class that is asked for after 60 steps."""
    inputs = 0.1 * torch.randn(count, 60, TOKEN_FEATURES, generator=generator)
    inputs[:, 0] = torch.randn(count, TOKEN_FEATURES, generator=generator)
    return inputs, (inputs[:, 0] @ _TOKEN).argmax(-1)


def _graphs(count: int, generator: Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Features of nodes and an adjacency matrix; the class of a node depends on it and on its neighbours' mean."""
    nodes = torch.randn(count, NODES, NODE_FEATURES, generator=generator)
    upper = (torch.rand(count, NODES, NODES, generator=generator) < 0.2).float().triu(1)
    edges = upper + upper.mT + torch.eye(NODES)  # each node is a neighbour of its own
    return (nodes, edges), ((nodes + edges @ nodes / edges.sum(-1, keepdim=True)) @ _NODE).argmax(-1)


def _picture(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Points of the square, and a function of several waves there, of variance near 1."""
    points = 2 * torch.rand(count, 2, generator=generator) - 1
    x, y = points.T
    values = torch.sin(9 * x + 1) + torch.cos(7 * y) * torch.sin(4 * x - 5 * y)
    return points, values[:, None]


def _poisson(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Points of [−1, 1], and the values that the second derivative has there: u″ = sin πx, where u(±1) = 0."""
    points = 2 * torch.rand(count, 1, generator=generator) - 1
    return points, torch.sin(math.pi * points)


def _operators(count: int, generator: Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """A function at 20 sensors and a place; the value of its antiderivative there."""
    waves = torch.arange(1, 4)
    heights = torch.randn(count, 3, generator=generator)
    sensors, place = torch.linspace(0, 1, SENSORS), torch.rand(count, 1, generator=generator)
    function = (heights[:, :, None] * torch.cos(waves[:, None] * sensors)).sum(1)
    return (function, place), (heights / waves * torch.sin(waves * place)).sum(-1, keepdim=True)


def _mixtures(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Vectors of four hidden factors in a little noise; they are their own targets."""
    factors = torch.randn(count, 4, generator=generator)
    inputs = factors @ _FACTORS + 0.1 * torch.randn(count, PIXELS, generator=generator)
    return inputs, inputs


def _points(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Points near a plane, bent a little, of variance near 1."""
    inputs = torch.randn(count, 2, generator=generator) @ _MIXING
    inputs = inputs + 0.3 * torch.tanh(inputs) + 0.3 * torch.randn(count, POINT_FEATURES, generator=generator)
    inputs = inputs / (1.8 * _MIXING.square().sum(0) + 0.1).sqrt()
    return inputs, inputs


VECTORS = Task("vectors", _vectors, cross_entropy, entropy)
PAIRS = Task("pairs", _pairs, cross_entropy, entropy)
CATEGORIES = Task("categories", _categories, cross_entropy, entropy)
GRATINGS = Task("gratings", _gratings, cross_entropy, entropy, steps=200, batch_size=16)
REGIONS = Task("regions", _regions, _pixelwise, entropy, steps=200, batch_size=16)
SEQUENCES = Task("sequences", _sequences, cross_entropy, entropy, steps=200, batch_size=16)
TWO_SEQUENCES = Task("two sequences", _two_sequences, cross_entropy, entropy, steps=200, batch_size=16)
LANGUAGE = Task("language", _language, cross_entropy, entropy, steps=200, batch_size=16)
SERIES = Task("series", _series(12), cross_entropy, entropy)
LONG_SERIES = Task("long series", _series(100), cross_entropy, entropy, steps=200, batch_size=16)
RECALL = Task("recall", _recall, cross_entropy, entropy, steps=200)
GRAPHS = Task("graphs", _graphs, cross_entropy, entropy)
PICTURE = Task("picture", _picture, squared_error, variance, batch_size=128)
POISSON = Task("poisson", _poisson, squared_error, variance, batch_size=64)
OPERATORS = Task("operators", _operators, squared_error, variance)
MIXTURES = Task("mixtures", _mixtures, squared_error, variance)
CODES = Task("codes", _mixtures, evidence_bound, variance)
POINTS = Task("points", _points, negative_log_likelihood, normal_entropy)
