"""Every kind of layer is drawn with its fans, and what the layer computes with has the variance that was asked for."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from start_training.initializers.initialize import initialize_
from start_training.initializers.orthogonal import Orthogonal
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.initializers.weights import weights_of

HE, HE_OUT, GLOROT = VarianceScaling(2.0), VarianceScaling(2.0, "fan_out"), VarianceScaling(1.0, "fan_average")


class Conv1D(nn.Module):
    """As that of HuggingFace, which computes x @ weight."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.empty(nx, nf).normal_(std=0.02)), nn.Parameter(torch.ones(nf))

    def forward(self, inputs):
        return inputs @ self.weight + self.bias


class Experts(nn.Module):
    """A gated mixture of experts, whose weights are stacked as (experts, units in, units out)."""

    def __init__(self, experts=4, width=24, inner=40, *, inputs_first=True):
        super().__init__()
        up, down = (experts, width, 2 * inner), (experts, inner, width)
        if not inputs_first:
            up, down = (experts, 2 * inner, width), (experts, width, inner)
        self.up, self.down = nn.Parameter(torch.randn(up)), nn.Parameter(torch.randn(down))
        self.up_bias = nn.Parameter(torch.ones(experts, 2 * inner))


class Ungated(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(4, 40, 24)), nn.Parameter(torch.randn(4, 24, 40))


class Routed(nn.Module):
    """Experts beside a router, which alone tells the width of the model."""

    def __init__(self):
        super().__init__()
        self.router, self.experts = nn.Linear(24, 4, bias=False), Ungated()


class Stack(nn.Module):
    """Experts of which nothing tells which axis is that of inputs."""

    def __init__(self):
        super().__init__()
        self.stack = nn.Parameter(torch.randn(5, 30, 20))


class Convolution(nn.Module):
    """A layer of somebody else, with the sizes of its weight."""

    def __init__(self, *, inputs_first):
        super().__init__()
        self.in_channels, self.out_channels = 30, 20
        self.weight = nn.Parameter(torch.randn(30, 20) if inputs_first else torch.randn(20, 30))


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(48, 144)


def older(function, layer):
    with warnings.catch_warnings(action="ignore"):  # the older weight_norm is deprecated
        return function(layer)


# Each kind, and the fan-in and the fan-out of its matrices.
KINDS = {
    "dense": (lambda: nn.Linear(60, 40), {(60, 40)}),
    "convolution": (lambda: nn.Conv2d(16, 32, 3), {(144, 288)}),
    "grouped": (lambda: nn.Conv2d(32, 64, 3, groups=4), {(72, 144)}),
    "depthwise": (lambda: nn.Conv2d(64, 64, 3, groups=64), {(9, 9)}),
    "transposed": (lambda: nn.ConvTranspose2d(24, 8, 4), {(384, 128)}),
    "transposed with a stride": (lambda: nn.ConvTranspose2d(24, 8, 4, stride=2), {(96, 128)}),
    "transposed, a broken fan": (lambda: nn.ConvTranspose1d(32, 8, 3, stride=2, groups=2), {(24, 12)}),
    "bilinear": (lambda: nn.Bilinear(12, 10, 20), {(120, 20)}),
    "packed attention": (lambda: nn.MultiheadAttention(48, 4), {(48, 48)}),
    "unpacked attention": (lambda: nn.MultiheadAttention(48, 4, kdim=20, vdim=30), {(48, 48), (20, 48), (30, 48)}),
    "packed dense layer": (lambda: Packed(), {(48, 48)}),
    "LSTM": (lambda: nn.LSTM(30, 40, 2, bidirectional=True), {(30, 40), (40, 40), (80, 40)}),
    "projected LSTM": (lambda: nn.LSTM(30, 40, proj_size=20), {(30, 40), (20, 40), (40, 20)}),
    "GRU": (lambda: nn.GRU(30, 40), {(30, 40), (40, 40)}),
    "RNN": (lambda: nn.RNN(30, 40), {(30, 40), (40, 40)}),
    "cell": (lambda: nn.LSTMCell(30, 40), {(30, 40), (40, 40)}),
    "x @ weight": (lambda: Conv1D(40, 60), {(60, 40)}),
    "experts": (lambda: Experts(), {(24, 80), (40, 24)}),
    "experts, outputs first": (lambda: Experts(inputs_first=False), {(24, 80), (40, 24)}),
    "experts beside a router": (lambda: Routed(), {(24, 4), (24, 40), (40, 24)}),
    "experts, axes assumed": (lambda: Stack(), {(30, 20)}),
    "dense layer of somebody else": (lambda: Convolution(inputs_first=False), {(30, 20)}),
    "dense layer of somebody else, x @ weight": (lambda: Convolution(inputs_first=True), {(30, 20)}),
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Linear(64, 64)), {(64, 64)}),
    "older weight_norm": (lambda: older(nn.utils.weight_norm, nn.Conv1d(16, 24, 3)), {(48, 72)}),
    "weight_norm of one norm": (lambda: parametrizations.weight_norm(nn.Linear(64, 64), dim=None), {(64, 64)}),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def kappa_of(layer, initializer, expected, *, draws=40):
    """Return the mean over draws of Var W times the fan-in, of each weight, and four standard errors."""
    kappas = {}
    for seed in range(draws):
        report = initialize_(layer, initializer, generator=seeded(seed))
        assert not [left for left in report.left if left.multiplies] and all(drawn.as_asked for drawn in report.drawn)
        for weight, drawn in zip(weights_of(layer), report.drawn, strict=True):
            matrices = weight.matrices().detach().double()
            assert weight.name == drawn.name and (weight.fans.fan_in, weight.fans.fan_out) in expected
            assert drawn.kappa == pytest.approx(weight.fans.fan_in * float(matrices.var(correction=0)), rel=1e-4)
            kappas.setdefault(drawn.name, []).append(weight.fans.fan_in * float(matrices.square().mean()))
    return kappas


@pytest.mark.parametrize("kind", KINDS)
def test_he_of_every_matrix_of_every_kind_has_kappa_2_and_biases_are_zero(kind):
    build, expected = KINDS[kind]
    layer = build()
    for name, kappas in kappa_of(layer, HE, expected).items():
        values = torch.tensor(kappas)
        error = max(float(values.std()) / len(values) ** 0.5, 1e-6)
        assert abs(float(values.mean()) - 2) < 4 * error, name
        assert abs(float(values.mean()) - 2.2) > 4 * error, name
    assert not any(p.any() for name, p in layer.named_parameters() if "bias" in name)
    assert all(parameter.grad_fn is None and parameter.requires_grad for parameter in layer.parameters())
    entries = {drawn.name: drawn.entries for drawn in initialize_(layer, HE, generator=seeded()).drawn}
    assert sum(entries.values()) == sum(weight.matrices().numel() for weight in weights_of(layer))


@pytest.mark.parametrize("initializer, kappa", [(HE, 2), (HE_OUT, 2), (GLOROT, 1)])
def test_fan_out_counts_one_group_of_a_convolution(initializer, kappa):
    depthwise, plain = nn.Conv2d(64, 64, 3, groups=64), nn.Conv2d(64, 128, 3, bias=False)
    [drawn] = initialize_(depthwise, initializer, generator=seeded()).drawn
    assert drawn.kappa == pytest.approx(kappa, rel=0.25) and drawn.asked_kappa == pytest.approx(kappa)
    [drawn] = initialize_(plain, initializer, generator=seeded()).drawn
    assert drawn.kappa == pytest.approx({HE: 2, HE_OUT: 1, GLOROT: 2 / 3}[initializer], rel=0.02)


@pytest.mark.parametrize("kind", ["dense", "transposed with a stride", "grouped", "bilinear", "x @ weight"])
def test_outputs_have_the_second_moment_that_kappa_says(kind):
    layer = KINDS[kind][0]()
    sizes = {nn.Linear: (60,), nn.ConvTranspose2d: (24, 20, 20), nn.Conv2d: (32, 9, 9), Conv1D: (60,)}
    moments = []
    for seed in range(30):
        initialize_(layer, HE, generator=seeded(seed))
        inputs = [torch.randn(64, *sizes.get(type(layer), (12,)), generator=seeded(100 + seed))]
        inputs += [torch.randn(64, 10, generator=seeded(200 + seed))] * isinstance(layer, nn.Bilinear)
        outputs = layer(*inputs).detach()
        inner = outputs[..., 8:-8, 8:-8] if isinstance(layer, nn.ConvTranspose2d) else outputs  # without the borders
        moments.append(float(inner.square().mean()))
    values = torch.tensor(moments)
    error = 4 * float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean()) - 2) < error < 0.4


def test_an_assumed_axis_is_said():
    [drawn] = initialize_(Stack(), HE, generator=seeded()).drawn
    assert "taken for (experts, units in, units out)" in str(drawn)
    assert not any(drawn.note for drawn in initialize_(Routed(), HE, generator=seeded()).drawn)


def test_initializations_of_a_decoder_of_transposed_convolutions_differ():
    net = nn.Sequential(*(nn.ConvTranspose2d(4, 4, 3) for _ in range(20)))
    sums = set()
    for seed in range(10):
        assert len(initialize_(net, HE, generator=seeded(seed)).drawn) == 20
        sums.add(float(sum(layer.weight.detach().sum() for layer in net)))
    assert len(sums) == 10


@pytest.mark.parametrize("build", [nn.Linear, nn.LSTM, nn.MultiheadAttention])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("initializer", [Orthogonal(1.0), nn.init.orthogonal_])
def test_matrices_in_half_precision_are_orthogonal_each(build, dtype, initializer):
    layer = build(16, 16).to(dtype)
    initialize_(layer, initializer, generator=seeded())
    for weight in weights_of(layer):
        [matrix] = weight.matrices().detach().float()
        assert (matrix @ matrix.T - torch.eye(16)).abs().max() < 0.03, weight.name


class Gain(nn.Module):
    """A parametrization without an inverse."""

    def forward(self, original):
        return 3 * original


@pytest.mark.parametrize(
    "build, low, high",
    [
        (lambda: parametrizations.spectral_norm(nn.Linear(64, 64)), 0.2, 0.4),
        (lambda: nn.utils.spectral_norm(nn.Linear(64, 64)), 0.2, 0.4),
        (lambda: parametrizations.orthogonal(nn.Linear(64, 64)), 0.98, 1.0),
        (lambda: prune.l1_unstructured(nn.Linear(64, 64), "weight", 0.5), 0.9, 1.1),
        (lambda: parametrize.register_parametrization(nn.Linear(64, 64), "weight", Gain()), 17, 19),
    ],
)
def test_a_layer_that_cannot_have_the_law_is_named_with_the_kappa_that_it_has(build, low, high):
    net = nn.Sequential(build(), nn.ReLU(), nn.Linear(64, 3))
    before = net[0].weight.detach().clone()
    drawn, readout = initialize_(net, HE, generator=seeded()).drawn
    weight = net[0](torch.eye(64)).T.detach()  # biases are zero
    assert not torch.allclose(before, weight)
    assert not drawn.as_asked and readout.as_asked and "not the asked law" in str(drawn)
    assert low < drawn.kappa < high
    assert drawn.kappa == pytest.approx(64 * float(weight.var(correction=0)), rel=0.02)


class Halved(nn.Linear):
    def forward(self, inputs):
        return nn.functional.linear(inputs, self.weight / 2, self.bias)


class Same(nn.Linear):
    def forward(self, inputs):
        return 1 * super().forward(inputs)


def test_what_a_layer_of_ones_own_computes_with_is_compared_with_what_was_drawn():
    halved, same, _ = initialize_(
        nn.Sequential(Halved(50, 50), Same(50, 50), nn.Linear(50, 2)), HE, generator=seeded()
    ).drawn
    assert not halved.as_asked and halved.kappa == pytest.approx(0.5, rel=0.1) and "0.25" in halved.note
    assert same.as_asked and same.kappa == pytest.approx(2, rel=0.1)
