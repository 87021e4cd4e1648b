"""Tests of the graph of layers and of what is done along it: ends of branches, activations, steady outputs."""

import pytest
import torch
from torch import nn

from start_training.cure.layer_scales import scale_ends_, sweep_
from start_training.cure.net_graph import graph_of
from start_training.diagnosis.evidence.prepare import prepare


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, inputs):
        return inputs + 0.5 * self.last(torch.tanh(self.first(inputs)))


class Stream(nn.Module):
    """Blocks whose branches are added in the block, or here."""

    def __init__(self, inside):
        super().__init__()
        self.stem, self.head, self.inside = nn.Linear(8, 16), nn.Linear(16, 3), inside
        branch = Block if inside else lambda: nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16))
        self.blocks = nn.ModuleList([branch() for _ in range(4)])

    def forward(self, inputs):
        stream = self.stem(inputs)
        for block in self.blocks:
            stream = block(stream) if self.inside else stream + block(stream)
        return self.head(stream)


@pytest.fixture
def case_of():
    torch.manual_seed(0)
    inputs = torch.randn(64, 8)
    return lambda net: prepare(
        net, inputs, inputs[:, :3].argmax(1), None, initializer=None, readout_initializer=None, nets=2, seed=0,
        layers="auto",
    )  # fmt: skip


@pytest.mark.parametrize("inside", [True, False])
def test_ends_of_branches_and_readouts_are_found_wherever_the_addition_is(case_of, inside):
    net = Stream(inside)
    graph = graph_of(net, case_of(net))
    ends = [node.name for node in graph.nodes if node.end]
    assert ends == [f"blocks.{index}.{'last' if inside else '2'}" for index in range(4)]
    assert ([node.name for node in graph.nodes if node.readout], graph.branches) == (["head"], 4)
    before = net.get_parameter(f"{ends[0]}.weight").clone()
    assert "4 residual branches by 0.5" in scale_ends_(graph)
    assert torch.allclose(net.get_parameter(f"{ends[0]}.weight"), before / 2)


def test_attention_and_feed_forward_of_a_transformer_both_end_branches(case_of):
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    graph = graph_of(net, case_of(net))
    assert graph.branches == 4
    assert [node.name.partition("layers.")[2] for node in graph.nodes if node.end] == [
        f"{index}.{part}" for index in range(2) for part in ("self_attn", "linear2")
    ]


class Slope(nn.Module):
    """The derivative of a net, which it takes within its forward pass."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))

    def forward(self, inputs):
        with torch.enable_grad():
            inputs = inputs.clone().requires_grad_()
            outputs = self.net(inputs)
            (slope,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
        return outputs + slope[:, :3]


def test_a_net_that_differentiates_in_its_forward_pass_is_swept(case_of):
    net = Slope()
    case = case_of(net)
    assert "2 layers" in sweep_(net, case, graph_of(net, case), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("draw", ["", "orthogonal"])
def test_a_sweep_gives_each_layer_the_variance_that_its_activation_needs(case_of, draw):
    layers = [part for _ in range(6) for part in (nn.Linear(16, 16), nn.ReLU())]
    net = nn.Sequential(nn.Linear(8, 16), *layers, nn.Linear(16, 3))
    case = case_of(net)
    sweep_(net, case, graph_of(net, case), torch.Generator().manual_seed(0), draw=draw)
    with torch.no_grad():
        outputs = [net[: index + 1](case.batches[0].arguments[0]) for index in range(1, 14, 2)]
    assert [float(one.square().mean().sqrt()) for one in outputs] == pytest.approx([1.0] * 6 + [0.5], abs=1e-3)
