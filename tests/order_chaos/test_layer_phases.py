"""Which layers of which nets are measured, and with which activation."""

import math

import pytest
import torch
from torch import nn

from src.models.convolutional import Convolutional
from src.models.fully_connected import FullyConnected
from src.models.residual import Residual
from src.models.square_layer import SquareLayer
from src.order_chaos.asymptotics import asymptotics
from src.order_chaos.layer_phases import measure_phases, phased_layers
from src.order_chaos.phase import layer_phase

SETTINGS = {"iterations": 20, "starts": 2}


def names(net, activation=None):
    return {layer.name: type(layer.activation).__name__ for layer in phased_layers(net, activation)}


def test_of_a_tanh_layer_it_is_the_hidden_one():
    assert names(SquareLayer((4,), 3)) == {"hidden.linear": "Tanh"}
    assert names(SquareLayer((4,), 3, activation="linear")) == {"hidden.linear": "Identity"}


def test_every_layer_but_the_readout_has_its_place():
    net = FullyConnected(10, 3, depth=4, width=8)
    layers = phased_layers(net)
    assert len(layers) == 4
    assert [layer.square for layer in layers] == [False, True, True, True]
    assert {type(layer.activation) for layer in layers} == {nn.ReLU}


def test_a_readout_alone_leaves_none():
    assert phased_layers(nn.Sequential(nn.Flatten(), nn.Linear(4, 3))) == []
    assert phased_layers(nn.ReLU()) == []


def test_an_activation_that_no_module_follows_is_the_one_that_is_given():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.readout = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    assert names(Functional()) == {"first": "NoneType", "second": "NoneType"}
    assert names(Functional(), nn.GELU()) == {"first": "GELU", "second": "GELU"}
    normalized = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.ELU(), nn.Linear(4, 2)
    )
    assert names(normalized) == {"0": "NoneType", "3": "ELU"}


@pytest.mark.parametrize("net", [Convolutional((1, 8, 8), 3, depth=2, channels=4), Residual(6, 3, modules=2, width=6)])
def test_layers_of_any_shape_have_a_phase_and_those_that_are_not_square_no_map(net):
    layers = phased_layers(net, nn.ReLU())
    for layer, row in zip(layers, measure_phases(layers, **SETTINGS), strict=True):
        J0, J = layer_phase(layer.weight)
        assert (row["J0"], row["J"], row["J2"]) == (J0, J, J**2)
        assert row["fan_in"] == layer.weight[0].numel()
        assert math.isnan(row["jacobian"]) == math.isnan(row["lyapunov"]) == (not layer.square)


def test_layers_of_a_kind_are_measured_at_once_and_each_by_its_own_weights_and_biases():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 9, bias=False), nn.Tanh(),
        nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2),
    )  # fmt: skip
    layers = phased_layers(net)
    rows = measure_phases(layers, **SETTINGS)
    for layer, row in zip(layers, rows, strict=True):
        if not layer.square:
            assert math.isnan(row["jacobian"])
            continue
        alone = asymptotics(layer.weight, layer.module.bias, activation=layer.activation, **SETTINGS)
        assert row["jacobian"] == pytest.approx(float(alone.jacobian), rel=1e-4)
        assert row["lyapunov"] == pytest.approx(float(alone.lyapunov), abs=1e-4)
    assert len({row["lyapunov"] for row in rows if math.isfinite(row["lyapunov"])}) == 4


def test_half_precision_is_measured_too():
    net = SquareLayer((4,), 3).to(torch.bfloat16)
    [row] = measure_phases(phased_layers(net), **SETTINGS)
    assert math.isfinite(row["lyapunov"])
