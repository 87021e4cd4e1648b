"""The forward pass of LeNet and similar nets, and the nets that the configs build."""

from pathlib import Path

import pytest
import torch
import yaml
from torch.nn.functional import conv2d, linear

from start_training.models.lenet import LeNet

CONF = Path(__file__).parents[2] / "conf"
SIZED = {"channels": [6, 4], "widths": [7], "kernel_size": 3}
GEOMETRIES = [(3, 0, 2), (3, 0, 3), (5, 2, 3), (4, 1, 2), (5, 3, 4)]


def lenet(**settings):
    return LeNet(**{"input_shape": (2, 16, 13), "classes": 3, **SIZED, **settings})


@pytest.fixture
def images(generator):
    return torch.randn(5, 2, 16, 13, generator=generator)


def pooled(images, pooling, window):
    """Pool window by window; a next window begins two pixels further unless the last one reached the border."""
    height, width = images.shape[2:]
    pool = torch.amax if pooling == "max" else torch.mean
    rows = [
        torch.stack([pool(images[:, :, i : i + window, j : j + window], (2, 3)) for j in _starts(width, window)], -1)
        for i in _starts(height, window)
    ]
    return torch.stack(rows, -2)


def _starts(size, window):
    return [0, *(start for start in range(2, size, 2) if start - 2 + window < size)]


@pytest.mark.parametrize("pooling", ["max", ["max", "mean"]], ids=str)
@pytest.mark.parametrize("kernel_size, padding, window", GEOMETRIES)
def test_the_forward_pass_agrees_with_the_formula(pooling, kernel_size, padding, window, images):
    activation, phi = ("relu", torch.relu) if pooling == "max" else ("tanh", torch.tanh)
    net = lenet(pooling=pooling, kernel_size=kernel_size, padding=padding, window=window, activation=activation)
    assert [net.get_submodule(name) for name in net.measured_layers] == [
        layer.activation for layer in [*net.convolutions, *net.dense]
    ]
    act = images
    pools = [pooling] * 2 if isinstance(pooling, str) else pooling
    for layer, pool in zip(net.convolutions, pools, strict=True):
        weight, bias = layer.convolution.weight, layer.convolution.bias
        act = pooled(phi(conv2d(act, weight, bias, padding=padding)), pool, window)
    act = phi(linear(act.flatten(1), net.dense[0].linear.weight, net.dense[0].linear.bias))
    torch.testing.assert_close(net(images), net.readout(act))


def test_the_configs_build_the_nets_of_the_paper():
    nets = {"lenet": (1, 28, 28), "shallow_convolutional": (3, 32, 32)}
    weights = {}
    for name, shape in nets.items():
        settings = yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text())
        del settings["_target_"]
        net = LeNet(shape, 10, **settings)
        assert net(torch.zeros(2, *shape)).shape == (2, 10)
        weights[name] = [tuple(p.shape) for p in net.parameters() if p.dim() > 1]
    assert weights == {
        "lenet": [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)],
        "shallow_convolutional": [(32, 3, 5, 5), (32, 32, 5, 5), (64, 32, 5, 5), (10, 1024)],
    }
