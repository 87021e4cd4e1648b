"""Which layers of a net are chosen, and what they cover."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from start_training.lengths.layer_choice import NoLayers, choose_from_pass, choose_layers
from start_training.models.fully_connected import FullyConnected
from tests.lengths.test_capture import Calling

WIDTH = 8


def mlp(width=WIDTH):
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Block(nn.Module):
    """A residual block whose activation is a function."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Stage(nn.Module):
    """Blocks after a change of width; `forward` makes it more than a container."""

    def __init__(self, before, width, blocks):
        super().__init__()
        self.first = nn.Linear(before, width) if before != width else nn.Identity()
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))

    def forward(self, x):
        return self.blocks(self.first(x))


class Gelu(nn.Module):
    """A leaf with a known function inside, and no parameters."""

    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Dense(nn.Module):
    """A leaf with weights and a known function inside."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(width, width))

    def forward(self, x):
        return torch.tanh(x @ self.kernel)


class RootMeanSquareNorm(nn.Module):
    def forward(self, x):
        return x * x.square().mean(-1, keepdim=True).clamp(min=1e-5).rsqrt()


class Recurrent(nn.Module):
    """Language model with an embedding, a recurrent module, and a head."""

    def __init__(self):
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(11, WIDTH), nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, 11))

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0])


def pooled(net, x):
    for layer in net.layers:
        x = F.gelu(layer(x))
    return net.pool(x[:, 0])


def experts(net, x):
    gates = net.gate(x).softmax(-1)
    return sum(gates[..., i : i + 1] * expert(x) for i, expert in enumerate(net.experts))


def attention_without_blocks(net, x):
    for layer in net.layers:
        x = net.norm(x + layer(x, x, x)[0])
    return net.head(x)


ENCODER = nn.TransformerEncoder(
    nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True), 3, enable_nested_tensor=False
)
LAYERS = [f"layers.{layer}" for layer in range(3)]


@pytest.mark.parametrize(
    "net, expected",
    [
        (nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), ["1", "3"]),
        # six calls of a function and one module: seven layers
        (
            Calling(pooled, layers=nn.ModuleList(nn.Linear(8, 8) for _ in range(6)), pool=nn.Sequential(nn.Tanh())),
            ["F.gelu", "pool.0"],
        ),
        (nn.Sequential(nn.Linear(8, 8), ENCODER, nn.Linear(8, 8), nn.ReLU()), [f"1.{name}" for name in LAYERS] + ["3"]),
        (nn.Sequential(*(Block() for _ in range(3)), nn.Tanh()), ["0", "1", "2", "3"]),
        (nn.Sequential(*(Stage(8, 8, 1 + stage) for stage in range(2))), ["0.blocks.0", "1.blocks.0", "1.blocks.1"]),
        (nn.Sequential(nn.Linear(8, 8), Gelu(), nn.Linear(8, 8), Gelu()), ["1", "3"]),
        (nn.Sequential(Dense(), Dense()), ["0", "1"]),
        (nn.Sequential(nn.Linear(8, 8), RootMeanSquareNorm(), nn.Linear(8, 8)), ["0", "2"]),
        # experts run side by side: no blocks, but their activations
        (
            Calling(experts, gate=nn.Linear(8, 2), experts=nn.ModuleList(mlp() for _ in range(2))),
            ["experts.0.1", "experts.1.1"],
        ),
        (
            Calling(
                attention_without_blocks,
                layers=nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2)),
                norm=nn.LayerNorm(8),
                head=nn.Linear(8, 2),
            ),
            ["layers.0", "layers.1", "head"],
        ),
        (Calling(lambda net, x: net.head(net.body(x).relu()), body=nn.Linear(8, 8), head=nn.Linear(8, 8)), ["F.relu"]),
        # the gate of a gated unit is no activation
        (
            Calling(lambda net, x: net.a(x) * torch.sigmoid(net.b(x)), a=nn.Linear(8, 8), b=nn.Linear(8, 8)),
            ["a", "b"],
        ),
    ],
)
def test_auto_chooses_the_residual_stream_or_activations(net, expected):
    kinds = choose_from_pass(net, "auto", [torch.randn(4, 5, 8)]).kinds
    assert list(kinds) == expected
    net.measured_layers = ["anything"]  # what a net declares counts first
    assert list(choose_from_pass(net, "auto", [torch.randn(4, 5, 8)]).kinds) == ["anything"]


def test_recurrent_modules_are_layers_besides_activations():
    kinds = choose_from_pass(Recurrent(), "auto", [torch.zeros(4, 5, dtype=torch.int64)]).kinds
    assert dict(kinds) == {"lstm": "recurrent modules", "head.0": "activations"}


def test_layers_can_be_asked_for_by_kind_or_by_pattern():
    net = nn.Sequential(nn.Linear(8, 8), *(Block() for _ in range(2)), nn.Tanh(), nn.Linear(8, 3))

    def chosen(layers):
        return list(choose_from_pass(net, layers, [torch.randn(4, 8)]).kinds)

    assert chosen("blocks") == ["1", "2"]
    assert chosen("activations") == ["1.F.gelu", "2.F.gelu", "3"]
    assert chosen("weights") == ["0", "1.up", "1.down", "2.up", "2.down", "4"]
    assert chosen(["*.down", "*F.gelu"]) == ["1.F.gelu", "1.down", "2.F.gelu", "2.down"]
    assert chosen("4") == ["4"]
    for layers, message in {("nothing*",): "layers = 'nothing.*': must match one of 0, 1, ", "blocks": ""}.items():
        plain = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        with pytest.raises(NoLayers, match=message or "layers = blocks: Sequential has no repeated blocks"):
            choose_from_pass(plain, layers, [torch.randn(4, 8)])


@pytest.mark.parametrize(
    "net, expected",
    [
        (
            nn.Sequential(nn.Linear(8, 8), *(Block() for _ in range(2)), nn.Tanh(), nn.Linear(8, 3)),
            "2 blocks, 1 activation; 5 of 6 weighted modules lie between measured layers; not covered: 4",
        ),
        (  # a part that no measured layer depends on
            Calling(
                lambda net, x: net.one(x) + net.other(x), one=mlp(), other=nn.Sequential(nn.Linear(8, 8), nn.Softmax(1))
            ),
            "1 activation; 1 of 3 weighted modules lie between measured layers; not covered: one.2, other.0",
        ),
        (  # a position embedding is added, and does not multiply
            Calling(lambda net, x: net.body(x + net.positions.kernel[:4]), body=mlp(), positions=Dense()),
            "1 activation; 1 of 2 weighted modules lie between measured layers; not covered: body.2",
        ),
        (
            FullyConnected(8, 3, depth=2, width=5),
            "2 declared layers; 2 of 3 weighted modules lie between measured layers; not covered: readout",
        ),
    ],
)
def test_coverage_counts_the_weights_on_which_a_layer_depends(net, expected):
    assert str(choose_from_pass(net, "auto", [torch.randn(4, 8)]).coverage) == expected


def test_the_share_that_is_covered_leaves_out_the_readout_alone():
    net = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(5)), nn.Linear(8, 3))
    assert choose_from_pass(net, "auto", [torch.randn(4, 8)]).coverage.share == 1
    assert choose_from_pass(net, ["2.1"], [torch.randn(4, 8)]).coverage.share == 3 / 5


def test_a_pass_for_the_choice_changes_neither_net_nor_random_numbers():
    net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.ReLU())
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    choose_from_pass(net, "auto", [torch.randn(4, 8, generator=torch.Generator().manual_seed(1))])
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_without_a_pass_blocks_are_told_by_class_and_place():
    assert list(choose_layers(nn.Sequential(nn.Linear(8, 8), ENCODER, nn.ReLU())).kinds) == [
        *(f"1.{name}" for name in LAYERS),
        "2",
    ]


def test_a_parametrized_layer_counts_once():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 3))
    coverage = choose_from_pass(net, "auto", [torch.randn(4, 8)]).coverage
    assert (coverage.weighted, coverage.missed) == (2, ("2",))
