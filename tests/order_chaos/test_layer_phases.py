"""J0 and J of layers of any shape, and the choice of the measured layers and their activations."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from start_training.initializers.weights import weights_of
from start_training.models.fully_connected import FullyConnected
from start_training.models.square_layer import SquareLayer
from start_training.order_chaos.asymptotics import asymptotics
from start_training.order_chaos.layer_phases import PhasedLayer, layer_phase, measure_phases, phased_layers

LINEAR = weights_of(nn.Linear(2, 2))[0]
SETTINGS = {"iterations": 20, "starts": 2}


@pytest.mark.parametrize("shape", [(40, 40), (30, 50), (8, 6, 3, 3), (12, 5, 7)])
def test_a_phase_is_computed_from_mean_and_standard_deviation_of_the_weight_and_the_fan_in(shape, generator):
    weight = torch.randn(shape, generator=generator) + 0.3
    entries, fan_in = weight.numpy().astype(np.float64), math.prod(shape[1:])
    phase = layer_phase(weight)
    assert list(phase) == pytest.approx([fan_in * entries.mean(), math.sqrt(fan_in) * entries.std()])
    assert pytest.approx(phase.J**2, abs=1e-12) == phase.J2


def test_half_precision_weights_are_summed_in_float64():
    weight = torch.full((1000, 1000), 0.001, dtype=torch.bfloat16)
    assert list(layer_phase(weight)) == pytest.approx([1000 * float(weight[0, 0]), 0], rel=1e-12)
    [row] = measure_phases(phased_layers(SquareLayer((4,), 3).to(torch.bfloat16)), **SETTINGS)
    assert math.isfinite(row["lyapunov"])


def names(net, activation=None):
    return {layer.name: type(layer.activation).__name__ for layer in phased_layers(net, activation)}


def test_every_layer_except_the_readout_is_listed_with_the_activation_that_follows_it_or_the_given_one():
    assert names(SquareLayer((4,), 3)) == {"hidden.linear": "Tanh"}
    assert names(SquareLayer((4,), 3, activation="linear")) == {"hidden.linear": "Identity"}
    layers = phased_layers(FullyConnected(10, 3, depth=4, width=8))
    assert [layer.square for layer in layers] == [False, True, True, True]
    assert (
        names(nn.Sequential(nn.Flatten(), nn.Linear(4, 3))) == names(nn.ReLU()) == {}
    )  # the only layer is the readout
    normalized = [nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.ELU(), nn.Linear(4, 2)]
    assert names(nn.Sequential(*normalized)) == {"0": "NoneType", "3": "ELU"}
    assert names(nn.Sequential(*normalized), nn.GELU()) == {"0": "GELU", "3": "ELU"}


def test_the_edge_is_at_1_for_odd_activations_of_slope_1_and_for_unknown_ones():
    for activation, at_1 in ((nn.Tanh(), True), (nn.Softsign(), True), (nn.ReLU(), False), (nn.GELU(), False)):
        assert PhasedLayer(LINEAR, activation).edge_at_1 == at_1
    assert PhasedLayer(LINEAR, None).edge_at_1


def test_layers_measured_in_one_batch_give_the_same_numbers_as_single_layers():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.Flatten(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 9), nn.Tanh(),
        nn.Linear(9, 9, bias=False), nn.Tanh(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(),
        nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2),
    )  # fmt: skip
    layers = phased_layers(net)
    rows = measure_phases(layers, **SETTINGS)
    torch.manual_seed(5)
    assert str(measure_phases(layers, **SETTINGS)) == str(rows)
    for layer, row in zip(layers, rows, strict=True):
        J0, J = layer_phase(layer.weight)
        assert (row["J0"], row["J"], row["J2"]) == (J0, J, J**2)
        assert (row["fan_in"], row["fan_out"]) == (layer.weight[0].numel(), layer.weight[:, 0].numel())
        biases = 0 if layer.bias is None else layer.bias.detach().double().numpy()
        assert row["bias_variance"] == pytest.approx(np.var(biases), abs=1e-12)
        if not layer.square:
            assert math.isnan(row["jacobian"])
            continue
        single = asymptotics(layer.weight, layer.bias, activation=layer.activation, **SETTINGS)
        assert row["jacobian"] == pytest.approx(float(single.jacobian), rel=1e-4)
        assert row["lyapunov"] == pytest.approx(float(single.lyapunov), abs=1e-4)
    assert len({row["lyapunov"] for row in rows if math.isfinite(row["lyapunov"])}) == 4


def test_every_matrix_of_a_layer_has_a_phase_of_what_the_layer_computes_with(generator):
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))
    with torch.no_grad():
        normed.parametrizations.weight.original0.mul_(2)
    net = nn.Sequential(nn.Conv1d(6, 6, 3, groups=6), normed, nn.Tanh(), nn.GRU(6, 6, bias=False), nn.Linear(6, 2))
    rows = {layer.name: row for layer, row in zip(*_phases(net), strict=True)}
    gates = {f"3.weight_{kind}_l0.{gate}" for kind in ("ih", "hh") for gate in ("reset", "update", "new")}
    assert rows.keys() == {"0", "1"} | gates
    assert (rows["0"]["fan_in"], rows["0"]["fan_out"]) == (3, 3)
    assert rows["1"]["J2"] == pytest.approx(6 * float(normed.weight.detach().double().var(correction=0)))
    assert not math.isnan(rows["1"]["lyapunov"]) and math.isnan(rows["0"]["lyapunov"])
    new = net[3].weight_hh_l0.detach()[12:]
    assert rows["3.weight_hh_l0.new"]["J2"] == pytest.approx(6 * float(new.double().var(correction=0)))


def _phases(net):
    layers = phased_layers(net)
    return layers, measure_phases(layers, **SETTINGS)
