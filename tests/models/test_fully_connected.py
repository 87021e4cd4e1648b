"""How a fully connected net is built, and which settings it refuses."""

import pytest
import torch
from torch import nn

from src.initializers.variance_scaling import VarianceScaling
from src.models.activation import ACTIVATIONS
from src.models.fully_connected import FullyConnected

REFUSED = [
    ({"depth": 0, "width": 5}, "^depth = 0: must be a whole number of at least 1"),
    ({"depth": 2, "width": -1}, "^width = -1: must be a whole number of at least 1"),
    ({"depth": 2}, "^width = None: must be a whole number of at least 1"),
    ({"width": 2}, "^depth = None: must be a whole number of at least 1"),
    ({"depth": 2.0, "width": 5}, r"^depth = 2\.0: must be a whole number of at least 1"),
    ({"depth": True, "width": 5}, "^depth = True: must be a whole number"),
    ({"widths": []}, r"^widths = \[\]: must be a list with at least one width"),
    ({"widths": [3, 0]}, "^widths = 0: must be a whole number of at least 1"),
    ({"widths": 5}, "^widths = 5: must be a list"),
    ({"widths": "55"}, "^widths = '55': must be a list"),
    ({"widths": [], "depth": 2, "width": 5}, r"^widths = \[\]: must be a list"),
    ({"depth": 1, "width": 5, "dropout": 1.0}, r"^dropout = 1\.0: must be a fraction, at least 0 and below 1"),
    ({"depth": 1, "width": 5, "dropout": -0.1}, r"^dropout = -0\.1: must be a fraction"),
    ({"depth": 1, "width": 5, "activation": "swish"}, "^activation = 'swish': must be one of gelu, leaky_relu, linear"),
]


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


@pytest.mark.parametrize("settings, message", REFUSED, ids=str)
def test_a_setting_that_makes_no_net_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        FullyConnected(7, 3, **settings)


@pytest.mark.parametrize("shape", [(2, 48), (2, 3, 4, 4), (1, 1, 48), (0, 48)], ids=str)
def test_inputs_of_any_shape_are_flattened(shape):
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    net = FullyConnected(48, 10, depth=2, width=5)
    logits = net(inputs)
    assert logits.shape == (shape[0], 10)
    torch.testing.assert_close(logits, net(inputs.flatten(1)))


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


def test_dropout_follows_each_activation_and_spares_the_logits():
    net = FullyConnected(6, 3, depth=2, width=5, dropout=0.25)
    assert [type(module) for module in net.hidden[1]] == [nn.Linear, nn.ReLU, nn.Dropout]
    assert [module.p for module in net.modules() if isinstance(module, nn.Dropout)] == [0.25, 0.25]
    assert not any(isinstance(module, nn.Dropout) for module in FullyConnected(6, 3, depth=2, width=5).modules())


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_lengths_are_predicted_for_homogeneous_activations_only(activation):
    net = FullyConnected(6, 3, depth=2, width=5, activation=activation)
    law = net.law(VarianceScaling(2.0))
    scaled, plain = (ACTIVATIONS[activation]()(z * torch.tensor([-1.0, 1.0])) for z in (3.0, 1.0))
    homogeneous = torch.allclose(scaled, 3 * plain)
    assert (law is not None) == homogeneous
    assert law is None or law.log_mean_length().shape == (2,)
