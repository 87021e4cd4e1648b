"""J0 and J of a layer whatever its shape; which layers of which nets are measured, and with which activation."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from src.initializers.initializer import Fans
from src.initializers.variance_scaling import VarianceScaling
from src.models.convolutional import Convolutional
from src.models.fully_connected import FullyConnected
from src.models.residual import Residual
from src.models.square_layer import SquareLayer
from src.order_chaos.asymptotics import asymptotics
from src.order_chaos.layer_phases import PhasedLayer, measure_phases, phased_layers
from src.order_chaos.phase import layer_phase

SETTINGS = {"iterations": 20, "starts": 2}


@pytest.mark.parametrize("shape", [(40, 40), (30, 50), (8, 6, 3, 3), (12, 5, 7)])
def test_a_phase_is_the_moments_of_all_entries_times_the_fan_in(shape, generator):
    weight = torch.randn(shape, generator=generator) + 0.3
    entries, fan_in = weight.numpy().astype(np.float64), math.prod(shape[1:])
    phase = layer_phase(weight)
    assert list(phase) == pytest.approx([fan_in * entries.mean(), math.sqrt(fan_in) * entries.std()])
    assert pytest.approx(phase.J**2, abs=1e-12) == phase.J2


@pytest.mark.parametrize("wrong", [0.0, 0.02])
def test_drawn_with_a_phase_a_layer_has_it(generator, wrong):
    N, J0, J = 300, 0.8, 0.5
    phase = layer_phase(J0 / N + J / math.sqrt(N) * torch.randn(N, N, generator=generator))
    errors = J * math.sqrt(1 / N), J / math.sqrt(2 * N**2)  # of N · mean and of √N · deviation, over N² entries
    sigmas = [abs(phase.J0 - J0 - 8 * wrong) / errors[0], abs(phase.J - J - wrong) / errors[1]]
    assert (max(sigmas) < 4) == (min(sigmas) < 4) == (wrong == 0)  # the control: both are seen to be off
    layer, law = nn.Conv2d(30, 40, 5), VarianceScaling(2.0)  # of one that is not square J² is its kappa
    law(layer.weight.data, generator)
    kappa = law.kappa(Fans.of(layer.weight)) + wrong * 4
    assert (abs(layer_phase(layer.weight).J2 - kappa) < 4 * 2 * math.sqrt(2 / 30_000)) == (wrong == 0)


def test_half_precision_is_summed_in_double():
    weight = torch.full((1000, 1000), 0.001, dtype=torch.bfloat16)
    assert list(layer_phase(weight)) == pytest.approx([1000 * float(weight[0, 0]), 0], rel=1e-12)
    [row] = measure_phases(phased_layers(SquareLayer((4,), 3).to(torch.bfloat16)), **SETTINGS)
    assert math.isfinite(row["lyapunov"])


def names(net, activation=None):
    return {layer.name: type(layer.activation).__name__ for layer in phased_layers(net, activation)}


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.readout = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)


def test_every_layer_but_the_readout_is_measured_with_the_activation_that_follows_or_is_given():
    assert names(SquareLayer((4,), 3)) == {"hidden.linear": "Tanh"}
    assert names(SquareLayer((4,), 3, activation="linear")) == {"hidden.linear": "Identity"}
    layers = phased_layers(FullyConnected(10, 3, depth=4, width=8))
    assert [layer.square for layer in layers] == [False, True, True, True]
    assert {type(layer.activation) for layer in layers} == {nn.ReLU}
    assert names(nn.Sequential(nn.Flatten(), nn.Linear(4, 3))) == names(nn.ReLU()) == {}  # a readout alone
    assert names(Functional()) == {"first": "NoneType", "second": "NoneType"}
    assert names(Functional(), nn.GELU()) == {"first": "GELU", "second": "GELU"}
    normalized = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.ELU(), nn.Linear(4, 2)
    )
    assert names(normalized) == {"0": "NoneType", "3": "ELU"}


def test_the_edge_is_at_1_of_odd_activations_of_slope_1_and_of_unknown_ones():
    at_1 = {
        kind: PhasedLayer("", nn.Linear(2, 2), kind()).edge_at_1 for kind in (nn.Tanh, nn.Softsign, nn.ReLU, nn.GELU)
    }
    assert at_1 == {nn.Tanh: True, nn.Softsign: True, nn.ReLU: False, nn.GELU: False}
    assert PhasedLayer("", nn.Linear(2, 2), None).edge_at_1


@pytest.mark.parametrize("net", [Convolutional((1, 8, 8), 3, depth=2, channels=4), Residual(6, 3, modules=2, width=6)])
def test_layers_of_any_shape_have_a_phase_and_those_that_are_not_square_no_map(net):
    layers = phased_layers(net, nn.ReLU())
    for layer, row in zip(layers, measure_phases(layers, **SETTINGS), strict=True):
        J0, J = layer_phase(layer.weight)
        assert (row["J0"], row["J"], row["J2"]) == (J0, J, J**2)
        assert (row["fan_in"], row["fan_out"]) == (
            layer.weight[0].numel(),
            layer.weight.numel() / layer.weight.shape[1],
        )
        biases = layer.module.bias
        variance = 0 if biases is None else np.var(biases.detach().numpy().astype(float))
        assert row["bias_variance"] == pytest.approx(variance, abs=1e-12)
        assert math.isnan(row["jacobian"]) == math.isnan(row["lyapunov"]) == (not layer.square)


def test_layers_of_a_kind_are_measured_at_once_and_each_by_its_own_weights_and_biases():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 9, bias=False), nn.Tanh(),
        nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2),
    )  # fmt: skip
    layers = phased_layers(net)
    rows = measure_phases(layers, **SETTINGS)
    torch.manual_seed(5)
    assert str(measure_phases(layers, **SETTINGS)) == str(rows)
    for layer, row in zip(layers, rows, strict=True):
        if not layer.square:
            assert math.isnan(row["jacobian"])
            continue
        alone = asymptotics(layer.weight, layer.module.bias, activation=layer.activation, **SETTINGS)
        assert row["jacobian"] == pytest.approx(float(alone.jacobian), rel=1e-4)
        assert row["lyapunov"] == pytest.approx(float(alone.lyapunov), abs=1e-4)
    assert len({row["lyapunov"] for row in rows if math.isfinite(row["lyapunov"])}) == 4
