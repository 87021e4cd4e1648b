"""How a convolutional net is built, what it computes, and which settings it refuses."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from src.ensembles.sample import Ensemble
from src.initializers.initialize import initialize_
from src.initializers.initializer import Fans
from src.initializers.variance_scaling import VarianceScaling
from src.models.convolutional import Convolutional
from src.theory.convolutional import ConvolutionalLaw, ResidualConvolutionalLaw

HE = VarianceScaling(2.0)
REFUSED = [
    ({"input_shape": (100,)}, r"^input_shape = \(100,\): must be \(channels, height, width\)"),
    ({"depth": 0}, "^depth = 0: must be a whole number of at least 1"),
    ({"depth": None}, "^depth = None: must be a whole number of at least 1"),
    ({"channels": 0}, "^channels = 0: must be a whole number of at least 1"),
    ({"channels": [4, 0, 4]}, "^channels = 0: must be a whole number of at least 1"),
    ({"channels": [4, 4]}, r"^channels = \[4, 4\]: must be a number or a list of 3, one per layer"),
    ({"channels": "4"}, "^channels = '4': must be a whole number of at least 1"),
    ({"channels": [4, 4, 4], "residual": True}, r"^channels = \[4, 4, 4\]: must be one number"),
    ({"kernel_size": 2}, "^kernel_size = 2: must be odd"),
    ({"kernel_size": 0}, "^kernel_size = 0: must be a whole number of at least 1"),
    ({"kernel_size": 11}, "^kernel_size = 11: must be at most 9, .* around images of 5 × 4 pixels"),
    ({"padding": "same"}, "^padding = 'same': must be one of circular, zeros"),
    ({"activation": "swish"}, "^activation = 'swish': must be one of gelu"),
    ({"dropout": 1.0}, r"^dropout = 1\.0: must be a fraction, at least 0 and below 1"),
    ({"residual": True, "scales": [1.0]}, r"^scales = \[1\.0\]: must be .* or a list of 3"),
    ({"residual": True, "base": 0.0}, r"^base = 0\.0: must be a number above 0"),
]
KINDS = [{"padding": padding, "residual": residual} for padding in ("circular", "zeros") for residual in (False, True)]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def convolutional(**settings):
    return Convolutional(**{"input_shape": (3, 5, 4), "classes": 2, "depth": 3, "channels": 6, **settings})


@pytest.fixture
def images(generator):
    return torch.randn(7, 3, 5, 4, generator=generator)


@pytest.mark.parametrize("settings, message", REFUSED, ids=str)
def test_a_setting_that_makes_no_net_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        convolutional(**settings)


@pytest.mark.parametrize("padding, mode", [("circular", "circular"), ("zeros", "constant")])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("activation, phi", [("relu", torch.relu), ("tanh", torch.tanh)])
def test_the_forward_pass_is_the_formula(padding, mode, kernel_size, activation, phi, images):
    net = convolutional(channels=[6, 4, 8], kernel_size=kernel_size, padding=padding, activation=activation)
    act = images
    for layer in net.hidden:
        weight, bias = layer.convolution.weight, layer.convolution.bias
        act = phi(conv2d(pad(act, [kernel_size // 2] * 4, mode=mode), weight, bias))
    assert act.shape == (7, 8, 5, 4)
    torch.testing.assert_close(net(images), net.readout(act.flatten(1)))


@pytest.mark.parametrize("padding, mode", [("circular", "circular"), ("zeros", "constant")])
@pytest.mark.parametrize("channels", [3, 6])
def test_residual_layers_add_to_what_they_are_given(padding, mode, channels, images):
    net = convolutional(channels=channels, padding=padding, residual=True, scales=[2.0, 1.0, 0.5])
    assert isinstance(net.embedding, nn.Identity) == (channels == 3)  # only where channels differ
    act = net.embedding(images)
    for eta, module in zip([2.0, 1.0, 0.5], net.hidden, strict=True):
        convolution = module.layer.convolution
        act = act + eta * conv2d(pad(act, [1] * 4, mode=mode), convolution.weight, convolution.bias).relu()
    torch.testing.assert_close(net(images), net.readout(act.flatten(1)))


def test_the_largest_kernel_of_a_circular_image_runs(images):
    assert convolutional(kernel_size=9)(images).shape == (7, 2)
    assert convolutional(kernel_size=11, padding="zeros")(images).shape == (7, 2)


def test_activations_or_modules_are_measured_and_layer_0_is_what_they_are_given():
    plain, residual = convolutional(dropout=0.1), convolutional(residual=True)
    assert [plain.get_submodule(name) for name in plain.measured_layers] == [layer.activation for layer in plain.hidden]
    assert [residual.get_submodule(name) for name in residual.measured_layers] == list(residual.hidden)
    for net in (plain, residual):
        assert net.get_submodule(net.measured_input) is net.embedding


def test_dropout_follows_each_activation(images):
    net = convolutional(dropout=0.5)
    assert [name for name, _ in net.hidden[0].named_children()] == ["convolution", "activation", "dropout"]
    assert not torch.equal(net.train()(images), net(images))
    torch.testing.assert_close(net.eval()(images), net(images), rtol=0, atol=0)


@each_kind
def test_every_layer_is_drawn_and_the_readout_by_its_own_initializer(kind, generator):
    net = convolutional(**kind)
    initialize_(net, lambda weight: weight.fill_(2.0), readout_initializer=nn.init.zeros_, generator=generator)
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 3 + kind["residual"]
    assert all((layer.weight == 2).all() and (layer.bias == 0).all() for layer in convolutions)
    assert (net.readout.weight == 0).all()


@each_kind
def test_a_net_is_compiled_whole(kind, images):
    net = convolutional(**kind)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), net(images))


@each_kind
def test_nets_are_sampled_side_by_side(kind, images, sigmas):
    ensemble = Ensemble(lambda: convolutional(**kind), HE, images)
    assert ensemble.choose_sampler() == "vectorized"
    fast, slow = (
        np.concatenate(list(ensemble.log_lengths(nets, sampler=sampler)))[:, 1:]
        for sampler, nets in (("vectorized", 7000), ("reference", 700))
    )
    assert (sigmas(slow, fast.mean(0)) < 4).all()
    assert (sigmas(slow, fast.mean(0) + np.log(1.5)) > 4).all()


def test_a_law_knows_the_fans_of_each_layer():
    law = convolutional(channels=[6, 4, 8], padding="zeros", dropout=0.1).law(VarianceScaling(1.0, "fan_average"))
    assert isinstance(law, ConvolutionalLaw)
    fans = [Fans(27, 54, 9), Fans(54, 36, 9), Fans(36, 72, 9)]
    np.testing.assert_allclose(law.kappas, [2 * fan_in / (fan_in + fan_out) for fan_in, fan_out, _ in fans])
    assert (law.channels.tolist(), law.kernel_size, law.padding) == ([6, 4, 8], 3, "zeros")
    assert (law.profile.shape, law.dropout) == ((5, 4), 0.1)


def test_a_residual_law_leaves_the_embedding_out():
    law = convolutional(channels=4, residual=True, scales="inverse_depth").law(VarianceScaling(1.0, "fan_out"))
    assert isinstance(law, ResidualConvolutionalLaw)
    np.testing.assert_allclose(law.kappas, [1.0] * 3)
    assert law.sum_of_scales == pytest.approx(1)


@pytest.mark.parametrize("settings", [{"activation": "tanh"}, {"residual": True, "dropout": 0.1}], ids=str)
def test_nothing_is_predicted_where_theory_does_not_hold(settings):
    assert convolutional(**settings).law(HE) is None
    assert convolutional().law(HE) is not None
