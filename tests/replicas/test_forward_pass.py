"""The losses and lengths of a vectorized forward pass equal those of each net by itself."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.capture import Capture
from start_training.lengths.layer_choice import choose_from_pass
from start_training.replicas import forward_pass
from start_training.replicas.forward_pass import StackedLengths, losses_of
from start_training.replicas.stack import Stack
from tests.replicas.nets import NETS, SHAPE, VECTORIZED


@pytest.mark.parametrize(
    ("replicas", "shared", "few_values"),  # a single replica runs without vmap; FEW_VALUES selects the measurement
    [(1, False, forward_pass.FEW_VALUES), (3, False, 0), (3, True, forward_pass.FEW_VALUES)],
)
@pytest.mark.parametrize("name", VECTORIZED)
def test_losses_and_lengths_equal_those_of_each_net(name, shared, replicas, few_values, monkeypatch):
    monkeypatch.setattr(forward_pass, "FEW_VALUES", few_values)
    torch.manual_seed(0)
    of_replicas = [NETS[name]().double() for _ in range(replicas)]
    inputs = torch.randn(replicas, 6, *SHAPE, dtype=torch.float64)
    targets = torch.randint(3, (replicas, 6))
    if shared:
        inputs, targets = inputs[:1].expand(inputs.shape), targets[:1].expand(targets.shape)
    stack = Stack(of_replicas)
    choice = choose_from_pass(stack.template, "auto", [inputs[0]])
    lengths = StackedLengths(stack.template, choice)
    lengths.replicas = replicas
    batch = (inputs[0], targets[0]) if shared else (inputs, targets)
    passed = losses_of(stack, stack.rows(slice(0, replicas)), *batch, shared=shared, lengths=lengths)
    for row, net in enumerate(of_replicas):
        capture = Capture(net, choice, measure=activation_lengths)
        capture.start()
        loss = cross_entropy(net(inputs[row]), targets[row])
        readings = capture.stop()
        torch.testing.assert_close(passed.losses[row], loss)
        assert lengths.names == tuple(reading.name for reading in readings)
        for norms, values, reading in zip(passed.norms, lengths.values, readings, strict=True):
            torch.testing.assert_close(norms[row].double().square() / values, reading.lengths, rtol=1e-6, atol=0)


def test_only_modules_that_match_the_patterns_are_measured():
    stack = Stack([NETS["fully connected"]() for _ in range(2)])
    callback = ActivationLengths(modules=["hidden.1.*"])
    lengths = StackedLengths(stack.template, callback.layers)
    batch = torch.randn(2, 6, *SHAPE), torch.zeros(2, 6, dtype=torch.int64)
    losses_of(stack, stack.rows(slice(0, 2)), *batch, shared=False, lengths=lengths)
    assert lengths.names[1:] and all(name.startswith("hidden.1.") for name in lengths.names[1:])
