"""The layer that alone reads the inputs is found, and its gathered outputs and gradients are correct."""

import pytest
import torch
from torch import nn

from start_training.datamodules.samples import Samples
from start_training.models.convolutional import Convolutional
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from start_training.replicas.first_layer import FirstLayer
from tests.replicas.nets import Gated, Hooked

SAMPLES = Samples(torch.rand(6, 1, 4, 4), torch.zeros(6, dtype=torch.int64))


@pytest.mark.parametrize(
    ("net", "name"),
    [
        (FullyConnected(16, 10, depth=2, width=3), "hidden.0.linear"),
        (FullyConnected(16, 10, depth=2, width=16), "hidden.0.linear"),
        (Residual(16, 10, modules=2, width=5), "embedding"),
        (Residual(16, 10, modules=2, width=16), None),  # the residual sum also reads the inputs
        (Convolutional((1, 4, 4), 10, depth=1, channels=2), None),
        (Gated(16, 10), None),
    ],
)
def test_the_first_layer_is_found_if_it_alone_reads_the_inputs(net, name):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    first = FirstLayer.find(net, SAMPLES)
    assert (first.name if first else None) == name
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_frozen_layers_and_subclasses_of_linear_are_not_used():
    frozen, other = FullyConnected(16, 10, depth=2, width=3), FullyConnected(16, 10, depth=2, width=3)
    frozen.hidden[0].requires_grad_(False)
    other.hidden[0].linear = Hooked(16, 3)
    assert FirstLayer.find(frozen, SAMPLES) is FirstLayer.find(other, SAMPLES) is None


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_equal_those_of_single_layers(bias):
    samples = Samples(SAMPLES.inputs.double(), SAMPLES.targets)
    layers = [nn.Linear(16, 3, bias=bias).double() for _ in range(2)]
    first = FirstLayer("layer", samples)
    index = torch.tensor([[0, 2, 5], [1, 1, 3]])
    weights = torch.stack([layer.weight.detach() for layer in layers]).requires_grad_()
    biases = torch.stack([layer.bias.detach() for layer in layers]).requires_grad_() if bias else None
    outputs = first.outputs(index, weights, biases)
    scale = torch.rand(outputs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (outputs * scale).sum().backward()
    for row, layer in enumerate(layers):
        expected = layer(samples.inputs[index[row]].flatten(1))
        torch.testing.assert_close(outputs[row], expected)
        (expected * scale[row]).sum().backward()
        torch.testing.assert_close(weights.grad[row], layer.weight.grad)
        if biases is not None:
            torch.testing.assert_close(biases.grad[row], layer.bias.grad)
    torch.testing.assert_close(first.norms[index], samples.inputs.flatten(1).norm(dim=1)[index])
