"""Tests of the readings of `Probe` against the same pass by hand."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from start_training.diagnosis.evidence.probe import Probe
from start_training.diagnosis.trials.forward_batch import ForwardBatch
from start_training.lengths.activation_length import activation_lengths


def probe(net, inputs, layers="auto"):
    with Probe(net.requires_grad_(False), layers) as hooks:
        readings = hooks.read(ForwardBatch((inputs,), {}, None, inputs), torch.Generator().manual_seed(0))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    return readings


def test_gradients_are_those_of_a_random_cotangent_even_with_inplace_relus(generator):
    net = nn.Sequential(
        nn.Linear(10, 8), nn.ReLU(inplace=True), nn.Linear(8, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)
    )
    inputs = torch.randn(5, 10, generator=generator)
    readings = probe(net, inputs, layers=["0", "1", "3"])
    activations = [inputs.clone().requires_grad_()]
    for step in (net[0], torch.relu, net[2:4], net[4]):
        activations.append(step(activations[-1]))
    *activations, outputs = activations
    cotangent = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))
    gradients = torch.autograd.grad(outputs, activations, cotangent)
    assert [reading.name for reading in readings] == ["input", "0", "1", "3"]
    assert [reading.feeds for reading in readings] == [(), ("0",), (), ("2",)]
    for number, (activation, gradient) in enumerate(zip(activations, gradients, strict=True)):
        squares = gradient.double().flatten(1).square().sum(1)
        torch.testing.assert_close(readings[number].lengths, activation_lengths(activation))
        torch.testing.assert_close(readings[number].gradients, squares, rtol=1e-5, atol=0)


def test_each_call_of_a_relu_that_resnet_calls_twice_is_a_layer_with_its_own_gradient(generator):
    readings = probe(resnet18(weights=None), torch.randn(2, 3, 32, 32, generator=generator), layers=["*relu"])
    by_name = {reading.name: reading for reading in readings}
    assert len(readings) == len(by_name) == 18
    assert all(reading.gradients is not None and (reading.gradients > 0).all() for reading in readings)
    assert readings[1].feeds == ("conv1",)
    assert by_name["layer2.0.relu:2"].feeds == ("layer2.0.conv2", "layer2.0.downsample.0")
    assert "layer4.1.relu:2" in by_name


def test_a_unit_is_silent_if_it_is_zero_on_every_sample():
    relu = nn.Sequential(nn.ReLU())
    assert probe(relu, torch.tensor([[1.0, -1.0, 1.0, 0.0], [1.0, -1.0, -1.0, 0.0]]))[1].silent == 0.5
    images = torch.ones(2, 3, 4, 4)
    images[:, 1] = -1
    images[:, 2, :2] = -1
    assert probe(relu, images)[1].silent == pytest.approx(1 / 3)
