"""The construction, forward pass and law of convolutional nets."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from start_training.initializers.initializer import Fans
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.convolutional import Convolutional
from start_training.theory.convolutional import ConvolutionalLaw, ResidualConvolutionalLaw

HE = VarianceScaling(2.0)


def convolutional(**settings):
    return Convolutional(**{"input_shape": (3, 5, 4), "classes": 2, "depth": 3, "channels": 6, **settings})


@pytest.fixture
def images(generator):
    return torch.randn(7, 3, 5, 4, generator=generator)


@pytest.mark.parametrize(
    ("padding", "mode", "kernel_size", "activation", "phi"),
    [
        ("circular", "circular", 1, "relu", torch.relu),
        ("circular", "circular", 5, "tanh", torch.tanh),
        ("zeros", "constant", 3, "relu", torch.relu),
    ],
)
def test_the_forward_pass_agrees_with_the_formula(padding, mode, kernel_size, activation, phi, images):
    net = convolutional(channels=[6, 4, 8], kernel_size=kernel_size, padding=padding, activation=activation)
    act = images
    for layer in net.hidden:
        weight, bias = layer.convolution.weight, layer.convolution.bias
        act = phi(conv2d(pad(act, [kernel_size // 2] * 4, mode=mode), weight, bias))
    assert act.shape == (7, 8, 5, 4)
    torch.testing.assert_close(net(images), net.readout(act.flatten(1)))


@pytest.mark.parametrize("padding, mode", [("circular", "circular"), ("zeros", "constant")])
@pytest.mark.parametrize("channels", [3, 6])
def test_residual_layers_add_to_their_input(padding, mode, channels, images):
    net = convolutional(channels=channels, padding=padding, residual=True, scales=[2.0, 1.0, 0.5])
    assert isinstance(net.embedding, nn.Identity) == (channels == 3)  # an embedding only if the channels differ
    act = net.embedding(images)
    for eta, module in zip([2.0, 1.0, 0.5], net.hidden, strict=True):
        convolution = module.layer.convolution
        act = act + eta * conv2d(pad(act, [1] * 4, mode=mode), convolution.weight, convolution.bias).relu()
    torch.testing.assert_close(net(images), net.readout(act.flatten(1)))


def test_activations_or_residual_modules_are_measured_and_the_embedding_as_input():
    plain, residual = convolutional(dropout=0.1), convolutional(residual=True)
    assert [plain.get_submodule(name) for name in plain.measured_layers] == [layer.activation for layer in plain.hidden]
    assert [residual.get_submodule(name) for name in residual.measured_layers] == list(residual.hidden)
    for net in (plain, residual):
        assert net.get_submodule(net.measured_input) is net.embedding
    assert convolutional(kernel_size=9)(torch.zeros(1, 3, 5, 4)).shape == (1, 2)  # the largest kernel for this image


def test_the_law_has_the_kappa_of_each_layer():
    law = convolutional(channels=[6, 4, 8], padding="zeros", dropout=0.1).law(VarianceScaling(1.0, "fan_average"))
    assert isinstance(law, ConvolutionalLaw)
    fans = [Fans(27, 54, 9), Fans(54, 36, 9), Fans(36, 72, 9)]
    np.testing.assert_allclose(law.kappas, [2 * fan_in / (fan_in + fan_out) for fan_in, fan_out, _ in fans])
    assert (law.channels.tolist(), law.kernel_size, law.padding) == ([6, 4, 8], 3, "zeros")
    assert (law.profile.shape, law.dropout) == ((5, 4), 0.1)


def test_the_residual_law_does_not_include_the_embedding():
    law = convolutional(channels=4, residual=True, scales="inverse_depth").law(VarianceScaling(1.0, "fan_out"))
    assert isinstance(law, ResidualConvolutionalLaw)
    np.testing.assert_allclose(law.kappas, [1.0] * 3)
    assert law.scales.sum() == pytest.approx(1)


@pytest.mark.parametrize("settings", [{"activation": "tanh"}, {"residual": True, "dropout": 0.1}], ids=str)
def test_there_is_no_law_for_settings_that_theory_does_not_cover(settings):
    assert convolutional(**settings).law(HE) is None
    assert convolutional().law(HE) is not None
