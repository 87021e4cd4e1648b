"""How a fully connected net is built, and which settings it refuses."""

import pytest
import torch
from torch import nn

from src.initializers.variance_scaling import VarianceScaling
from src.models.activation import ACTIVATIONS
from src.models.fully_connected import FullyConnected


def sizes_of(net):
    return [(module.in_features, module.out_features) for module in net.modules() if isinstance(module, nn.Linear)]


def test_depth_counts_hidden_layers_of_one_width():
    net = FullyConnected(7, 3, depth=3, width=5)
    assert net.widths == [5, 5, 5]
    assert sizes_of(net) == [(7, 5), (5, 5), (5, 5), (5, 3)]


def test_widths_win_over_depth_and_width():
    net = FullyConnected(7, 3, depth=9, width=100, widths=[6, 4])
    assert net.widths == [6, 4]
    assert sizes_of(net) == [(7, 6), (6, 4), (4, 3)]


def test_the_forward_pass_is_the_formula(generator):
    net, inputs = FullyConnected(6, 3, widths=[5, 4], activation="tanh"), torch.randn(2, 6, generator=generator)
    (w1, b1), (w2, b2) = ((layer.linear.weight, layer.linear.bias) for layer in net.hidden)
    activation = torch.tanh(w2 @ torch.tanh(w1 @ inputs.T + b1[:, None]) + b2[:, None])
    torch.testing.assert_close(net(inputs), (net.readout.weight @ activation).T + net.readout.bias)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_every_hidden_layers_activation_is_measured(dropout):
    net = FullyConnected(6, 3, depth=4, width=5, activation="gelu", dropout=dropout)
    modules = [net.get_submodule(name) for name in net.measured_layers]
    assert len(modules) == 4
    assert all(isinstance(module, nn.GELU) for module in modules)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_lengths_are_predicted_for_homogeneous_activations_only(activation):
    net = FullyConnected(6, 3, depth=2, width=5, activation=activation)
    law = net.law(VarianceScaling(2.0))
    scaled, plain = (ACTIVATIONS[activation]()(z * torch.tensor([-1.0, 1.0])) for z in (3.0, 1.0))
    homogeneous = torch.allclose(scaled, 3 * plain)
    assert (law is not None) == homogeneous
    assert law is None or law.log_mean_length().shape == (2,)
