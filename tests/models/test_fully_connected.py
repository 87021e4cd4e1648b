"""The construction, forward pass and law of fully connected nets."""

import pytest
import torch
from torch import nn

from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.activation import ACTIVATIONS
from start_training.models.fully_connected import FullyConnected


@pytest.mark.parametrize("settings", [{"depth": 2, "width": 5}, {"depth": 9, "width": 100, "widths": [5, 5]}])
def test_depth_and_width_give_equal_layers_and_widths_replace_them(settings):
    net = FullyConnected(7, 3, **settings)
    linear = [(module.in_features, module.out_features) for module in net.modules() if isinstance(module, nn.Linear)]
    assert (net.widths, linear) == ([5, 5], [(7, 5), (5, 5), (5, 3)])


def test_the_forward_pass_agrees_with_the_formula(generator):
    net, inputs = FullyConnected(6, 3, widths=[5, 4], activation="tanh"), torch.randn(2, 6, generator=generator)
    (w1, b1), (w2, b2) = ((layer.linear.weight, layer.linear.bias) for layer in net.hidden)
    activation = torch.tanh(w2 @ torch.tanh(w1 @ inputs.T + b1[:, None]) + b2[:, None])
    torch.testing.assert_close(net(inputs), (net.readout.weight @ activation).T + net.readout.bias)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_lengths_are_predicted_for_homogeneous_activations_only(activation):
    net = FullyConnected(6, 3, depth=2, width=5, activation=activation)
    law = net.law(VarianceScaling(2.0))
    scaled, plain = (ACTIVATIONS[activation]()(z * torch.tensor([-1.0, 1.0])) for z in (3.0, 1.0))
    homogeneous = torch.allclose(scaled, 3 * plain)
    assert (law is not None) == homogeneous
    assert law is None or law.log_mean_length().shape == (2,)
