"""Graph nets on features of nodes and a matrix of edges, which holds each node's edge to itself."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.zoo.net import family_of
from tests.zoo.parts import Detached, filled, glorot, mlp, scaled
from tests.zoo.tasks import CLASSES, GRAPHS, NODE_FEATURES

WIDTH = 32


class GraphConvolution(nn.Module):
    """Kipf & Welling's layer: D^(−1/2) A D^(−1/2) X W."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, fan_out)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        scale = edges.sum(-1, keepdim=True).rsqrt()
        return scale * (edges @ (scale * self.linear(nodes)))


class SumConvolution(nn.Module):
    """An isomorphism layer: a net of the sum over the neighbours."""

    def __init__(self, fan_in: int, fan_out: int, *, norm: bool = True) -> None:
        super().__init__()
        self.net, self.norm = mlp([fan_in, fan_out, fan_out]), nn.LayerNorm(fan_out) if norm else nn.Identity()

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        return self.norm(self.net(edges @ nodes))


class SageConvolution(nn.Module):
    """GraphSAGE: one matrix for the node, one for the mean of its neighbours."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.own, self.others = nn.Linear(fan_in, fan_out), nn.Linear(fan_in, fan_out, bias=False)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        return self.own(nodes) + self.others(edges @ nodes / edges.sum(-1, keepdim=True))


class GraphAttention(nn.Module):
    """Neighbours are weighted by a softmax of the inner products of queries and keys."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(fan_in, fan_out) for _ in range(3))

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        scores = self.query(nodes) @ self.key(nodes).mT / self.query.out_features**0.5
        return scores.masked_fill(edges == 0, float("-inf")).softmax(-1) @ self.value(nodes)


class GraphNet(nn.Module):
    """Layers of one kind with ReLU, with or without skips, and a readout of each node."""

    def __init__(self, layers: int, kind: Callable[[int, int], nn.Module], *, skips: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(kind(WIDTH if index else NODE_FEATURES, WIDTH) for index in range(layers))
        self.skips, self.readout = skips, nn.Linear(WIDTH, CLASSES)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            changed = torch.relu(layer(nodes, edges))
            nodes = nodes + changed if self.skips and index else changed
        return self.readout(nodes)


def detached_front() -> nn.Module:
    net = GraphNet(3, SageConvolution)
    net.layers[0] = Detached(net.layers[0])
    return net


def convolutions(layers: int, *, skips: bool = False) -> nn.Module:
    return glorot(GraphNet(layers, GraphConvolution, skips=skips))


def explosive() -> nn.Module:
    """Sums over neighbours without normalization, with weights that make up for nothing."""
    return scaled(
        glorot(GraphNet(10, lambda fan_in, fan_out: SumConvolution(fan_in, fan_out, norm=False))), "layers*weight", 2.0
    )


NETS = family_of(
    "graphs",
    [
        ("gcn_2", GRAPHS, lambda: convolutions(2), "", ""),
        ("gcn_skips_6", GRAPHS, lambda: convolutions(6, skips=True), "", ""),
        ("sage_3", GRAPHS, lambda: GraphNet(3, SageConvolution), "", ""),
        ("gin_3", GRAPHS, lambda: GraphNet(3, SumConvolution), "", ""),
        ("gat_2", GRAPHS, lambda: GraphNet(2, GraphAttention), "", ""),
        ("gcn_32", GRAPHS, lambda: convolutions(32), "rank_collapse unnormalized", "rank_collapse"),
        ("gin_without_norm_10", GRAPHS, explosive, "unnormalized gain", "rank_collapse readout"),
        ("gat_saturated", GRAPHS, lambda: scaled(GraphNet(2, GraphAttention), "*query.weight", 300.0),
         "saturated_attention", "saturated_attention"),
        ("sage_detached_front", GRAPHS, detached_front, "detached", "detached"),
        ("gcn_dead_bias", GRAPHS, lambda: filled(convolutions(3), "layers.1.linear.bias", -20.0), "dead_bias", "dead"),
        ("gin_zero", GRAPHS, lambda: filled(GraphNet(3, SumConvolution), "layers.1.norm.*", 0.0), "zero", "dead"),
    ],
)  # fmt: skip
