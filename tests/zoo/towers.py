"""Nets with several inputs, each with a tower of its own."""

import torch
from torch import Tensor, nn

from tests.zoo.net import family_of
from tests.zoo.parts import Detached, filled, frozen, he, mlp, poisoned
from tests.zoo.tasks import CATEGORIES, CLASSES, FEATURES, PAIRS

WIDTH = 32


def tower(depth: int = 4, *, good: bool = True) -> nn.Module:
    """He-initialized if good; else with PyTorch's own initialization, which 20 layers do not survive."""
    net = mlp([FEATURES, *[WIDTH] * depth])
    return he(net) if good else net


class TwoTowers(nn.Module):
    """A readout of the outputs of two towers."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.readout = first, second, nn.Linear(2 * WIDTH, CLASSES)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.readout(torch.cat([self.first(first), self.second(second)], -1))


class Siamese(nn.Module):
    """One tower for both inputs, and a net that reads both outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.head = tower(), he(mlp([2 * WIDTH, WIDTH, CLASSES]))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.head(torch.cat([self.tower(first), self.tower(second)], -1))


class Modulated(nn.Module):
    """FiLM: the second input scales and shifts the hidden units of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.film, self.back = nn.Linear(FEATURES, WIDTH), nn.Linear(FEATURES, 2 * WIDTH), tower_head()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        scale, shift = self.film(second).chunk(2, -1)
        return self.back(torch.relu((1 + scale) * self.front(first) + shift))


def tower_head() -> nn.Module:
    return mlp([WIDTH, WIDTH, CLASSES])


class Interactions(nn.Module):
    """DLRM: embeddings of categories, a net for the dense features, and a net of their inner products."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(30, 8) for _ in range(4))
        self.dense = mlp([FEATURES, WIDTH, 8])
        self.head = mlp([5 * 8 + 10, WIDTH, CLASSES])

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        features = [self.dense(dense), *(table(sparse[:, i]) for i, table in enumerate(self.tables))]
        stacked = torch.stack(features, 1)
        rows, columns = torch.triu_indices(5, 5, 1)
        products = (stacked @ stacked.mT)[:, rows, columns]
        return self.head(torch.cat([stacked.flatten(1), products], -1))


class WideAndDeep(nn.Module):
    """A linear model of all inputs beside a deep one."""

    def __init__(self, deep: nn.Module) -> None:
        super().__init__()
        self.wide = nn.ModuleList(nn.Embedding(30, CLASSES) for _ in range(4))
        self.linear, self.deep = nn.Linear(FEATURES, CLASSES), deep

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        wide = self.linear(dense) + sum(table(sparse[:, i]) for i, table in enumerate(self.wide))
        return wide + self.deep(dense)


class Experts(nn.Module):
    """A mixture of experts with a softmax gate over the first input; the second is read by all."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(FEATURES, 3)
        self.experts = nn.ModuleList(mlp([2 * FEATURES, WIDTH, CLASSES]) for _ in range(3))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        inputs = torch.cat([first, second], -1)
        answers = torch.stack([expert(inputs) for expert in self.experts], 1)
        return (self.gate(first).softmax(-1)[:, :, None] * answers).sum(1)


def dead() -> nn.Module:
    """The last ReLU of the second tower is never above 0."""
    return TwoTowers(tower(), nn.Sequential(filled(tower(), "6.bias", -50.0), nn.ReLU()))


def symmetric_tower() -> nn.Module:
    return filled(TwoTowers(tower(), tower()), "second.*.weight", 0.05)


def deep_wide() -> nn.Module:
    """The deep half is too deep for PyTorch's initialization."""
    return WideAndDeep(mlp([FEATURES, *[WIDTH] * 20, CLASSES]))


NETS = family_of(
    "towers",
    [
        ("two_towers", PAIRS, lambda: TwoTowers(tower(), tower()), "", ""),
        ("siamese", PAIRS, Siamese, "", ""),
        ("film", PAIRS, Modulated, "", ""),
        ("experts", PAIRS, Experts, "", ""),
        ("dlrm", CATEGORIES, Interactions, "", ""),
        ("wide_and_deep", CATEGORIES, lambda: WideAndDeep(mlp([FEATURES, WIDTH, CLASSES])), "", ""),
        ("towers_first_bad", PAIRS, lambda: TwoTowers(tower(20, good=False), tower()), "gain", "dead"),
        ("towers_second_bad", PAIRS, lambda: TwoTowers(tower(), tower(20, good=False)), "gain", "dead"),
        ("towers_both_bad", PAIRS, lambda: TwoTowers(tower(20, good=False), tower(20, good=False)), "gain", ""),
        ("wide_and_deep_bad", CATEGORIES, deep_wide, "gain", "dead"),
        ("towers_one_dead", PAIRS, dead, "dead_bias", "dead"),
        ("towers_one_detached", PAIRS, lambda: TwoTowers(tower(), Detached(tower())), "detached", "detached"),
        ("towers_one_symmetric", PAIRS, symmetric_tower, "symmetric", "symmetric"),
        ("towers_one_zero", PAIRS, lambda: filled(TwoTowers(tower(), tower()), "second.*", 0.0),
         "zero", "dead no_gradient"),
        ("towers_one_nan", PAIRS, lambda: poisoned(TwoTowers(tower(), tower()), "first.2.weight"), "nan", "not_finite"),
        ("dlrm_frozen", CATEGORIES, lambda: frozen(Interactions()), "frozen", "no_gradient"),
    ],
)  # fmt: skip
