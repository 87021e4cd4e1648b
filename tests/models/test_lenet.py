"""How LeNet and the shallow CIFAR-10 net are built, what they compute, and which settings they refuse."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import conv2d, linear

from src.ensembles.sample import Ensemble
from src.initializers.initialize import initialize_
from src.initializers.variance_scaling import VarianceScaling
from src.lengths.capture import Capture
from src.models.law import law_of
from src.models.lenet import LeNet

HE = VarianceScaling(2.0)
CONF = Path(__file__).parents[2] / "conf"
SIZED = {"channels": [6, 4], "widths": [7], "kernel_size": 3}
REFUSED = [
    ({"input_shape": (100,)}, r"^input_shape = \(100,\): must be \(channels, height, width\)"),
    ({"channels": []}, r"^channels = \[\]: must be a list of at least one, a number for each layer"),
    ({"channels": 6}, "^channels = 6: must be a list of at least one"),
    ({"channels": [6, 0]}, "^channels = 0: must be a whole number of at least 1"),
    ({"widths": "7"}, "^widths = '7': must be a list, a number for each layer"),
    ({"widths": [7, -1]}, "^widths = -1: must be a whole number of at least 1"),
    ({"kernel_size": 0}, "^kernel_size = 0: must be a whole number of at least 1"),
    ({"kernel_size": 17}, "^kernel_size = 17: larger than what is left of images of 16 × 13, a side of 16; padd.* = 8"),
    ({"kernel_size": 7}, "^kernel_size = 7: larger than what is left of images of 16 × 13, a side of 5; padding = 3"),
    ({"padding": -1}, "^padding = -1: must be a whole number of at least 0"),
    ({"window": 1}, "^window = 1: must be a whole number of at least 2"),
    ({"window": 4}, "^window = 4: larger than what is left"),
    ({"pooling": "median"}, "^pooling = 'median': must be one of max, mean"),
    ({"pooling": ["max"]}, r"^pooling = \['max'\]: must be a name or a list of 2, one per convolution"),
    ({"activation": "swish"}, "^activation = 'swish': must be one of gelu"),
    ({"dropout": 1.0}, r"^dropout = 1\.0: must be a fraction, at least 0 and below 1"),
]
GEOMETRIES = [(3, 0, 2), (3, 0, 3), (2, 0, 2), (5, 2, 3), (4, 1, 2), (5, 3, 4)]


def lenet(**settings):
    return LeNet(**{"input_shape": (2, 16, 13), "classes": 3, **SIZED, **settings})


def of_conf(name, **settings):
    return yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text()) | settings


@pytest.fixture
def images(generator):
    return torch.randn(5, 2, 16, 13, generator=generator)


def pooled(images, pooling, window):
    """A window at a time; it begins two pixels after the last, if that did not reach the border."""
    height, width = images.shape[2:]
    pool = torch.amax if pooling == "max" else torch.mean
    rows = [
        torch.stack([pool(images[:, :, i : i + window, j : j + window], (2, 3)) for j in _starts(width, window)], -1)
        for i in _starts(height, window)
    ]
    return torch.stack(rows, -2)


def _starts(size, window):
    return [0, *(start for start in range(2, size, 2) if start - 2 + window < size)]


@pytest.mark.parametrize("settings, message", REFUSED, ids=str)
def test_a_setting_that_makes_no_net_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        lenet(**settings)


@pytest.mark.parametrize("pooling", ["max", "mean", ["max", "mean"]], ids=str)
@pytest.mark.parametrize("kernel_size, padding, window", GEOMETRIES)
@pytest.mark.parametrize("activation, phi", [("relu", torch.relu), ("tanh", torch.tanh)])
def test_the_forward_pass_is_the_formula(pooling, kernel_size, padding, window, activation, phi, images):
    net = lenet(pooling=pooling, kernel_size=kernel_size, padding=padding, window=window, activation=activation)
    act = images
    pools = [pooling] * 2 if isinstance(pooling, str) else pooling
    for layer, pool in zip(net.convolutions, pools, strict=True):
        weight, bias = layer.convolution.weight, layer.convolution.bias
        act = pooled(phi(conv2d(act, weight, bias, padding=padding)), pool, window)
    act = phi(linear(act.flatten(1), net.dense[0].linear.weight, net.dense[0].linear.bias))
    torch.testing.assert_close(net(images), net.readout(act))


def test_the_nets_of_conf_are_those_of_the_paper():
    nets = {"lenet": (1, 28, 28), "shallow_convolutional": (3, 32, 32)}
    weights = {}
    for name, shape in nets.items():
        settings = of_conf(name)
        del settings["_target_"]
        net = LeNet(shape, 10, **settings)
        assert net(torch.zeros(2, *shape)).shape == (2, 10)
        weights[name] = [tuple(p.shape) for p in net.parameters() if p.dim() > 1]
    assert weights == {
        "lenet": [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)],
        "shallow_convolutional": [(32, 3, 5, 5), (32, 32, 5, 5), (64, 32, 5, 5), (10, 1024)],
    }


def test_without_dense_layers_the_readout_sees_the_last_pooling(images):
    net = lenet(widths=[], kernel_size=3)
    assert net.readout.in_features == 4 * 3 * 2
    assert net(images).shape == (5, 3)


def test_lengths_are_measured_at_the_activations_and_layer_0_is_the_image(images):
    net = lenet(dropout=0.5)
    measured = [net.get_submodule(name) for name in net.measured_layers]
    assert measured == [layer.activation for layer in [*net.convolutions, *net.dense]]
    capture = Capture(net)
    capture.start()
    net.train()(images)
    readings = capture.stop()
    assert [reading.name for reading in readings] == ["input", *net.measured_layers]
    torch.testing.assert_close(readings[0].lengths, images.double().pow(2).mean((1, 2, 3)))


def test_dropout_follows_each_pooling_and_each_dense_activation(images):
    net = lenet(dropout=0.5)
    assert [name for name, _ in net.convolutions[0].named_children()] == [
        "convolution",
        "activation",
        "pooling",
        "dropout",
    ]
    assert [name for name, _ in net.dense[0].named_children()] == ["linear", "activation", "dropout"]
    assert not torch.equal(net.train()(images), net(images))
    torch.testing.assert_close(net.eval()(images), net(images), rtol=0, atol=0)


def test_every_layer_is_drawn_and_the_readout_by_its_own_initializer(generator):
    net = lenet()
    initialize_(net, lambda weight: weight.fill_(2.0), readout_initializer=nn.init.zeros_, generator=generator)
    *layers, readout = (module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    assert len(layers) == 3
    assert readout is net.readout
    assert all((layer.weight == 2).all() and (layer.bias == 0).all() for layer in layers)
    assert (net.readout.weight == 0).all()


@pytest.mark.parametrize("net", [lenet(), lenet(pooling="mean", widths=[])], ids=["dense", "none"])
def test_every_initializer_draws_it_and_theory_has_no_law_of_pooling(net, initializer, generator):
    initialize_(net, initializer, generator=generator)
    assert all(parameter.isfinite().all() for parameter in net.parameters())
    assert law_of(net, initializer) is None


def test_a_net_is_compiled_whole(images):
    net = lenet()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), net(images))


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_nets_are_sampled_side_by_side(pooling, images, sigmas):
    ensemble = Ensemble(lambda: lenet(channels=[8, 8], widths=[60], pooling=pooling), HE, images)
    assert ensemble.choose_sampler() == "vectorized"
    fast, slow = (
        np.concatenate(list(ensemble.log_lengths(nets, sampler=sampler)))[:, 1:]
        for sampler, nets in (("vectorized", 7000), ("reference", 700))
    )
    assert (sigmas(slow, fast.mean(0)) < 4).all()
    assert (sigmas(slow, fast.mean(0) + np.log(1.5)) > 4).all()
