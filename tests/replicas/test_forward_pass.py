"""What many nets compute at once is what each computes, and what cannot be is refused by name."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.capture import Capture
from start_training.models.convolutional import Convolutional
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from start_training.replicas import forward_pass
from start_training.replicas.forward_pass import (
    NotVectorized,
    StackedLengths,
    check_vectorized,
    draws_random_numbers,
    losses_of,
)
from start_training.replicas.stack import Stack
from tests.replicas import nets

SHAPE = (1, 4, 4)
NETS = {
    "fully connected": partial(FullyConnected, 16, 3, depth=2, width=5),
    "dropout": partial(FullyConnected, 16, 3, depth=2, width=5, dropout=0.5),
    "residual": partial(Residual, 16, 3, modules=2, width=5),
    "convolutional": partial(Convolutional, SHAPE, 3, depth=2, channels=2),
    "in place": partial(nets.InPlace, 16, 3),
    "patches": partial(nets.Patches, 16, 3),
    "normalized": partial(nets.Normalized, 16, 3),
}


VECTORIZED = sorted(NETS.keys() - {"dropout"})


@pytest.mark.parametrize(
    ("replicas", "shared", "few_values"),  # of one, with a way of its own; measured each or all at once
    [(1, False, forward_pass.FEW_VALUES), (3, False, 0), (3, True, forward_pass.FEW_VALUES)],
)
@pytest.mark.parametrize("name", VECTORIZED)
def test_losses_and_lengths_are_each_nets_own(name, shared, replicas, few_values, monkeypatch):
    monkeypatch.setattr(forward_pass, "FEW_VALUES", few_values)
    torch.manual_seed(0)
    of_replicas = [NETS[name]().double() for _ in range(replicas)]
    inputs = torch.randn(replicas, 6, *SHAPE, dtype=torch.float64)
    targets = torch.randint(3, (replicas, 6))
    if shared:
        inputs, targets = inputs[:1].expand(inputs.shape), targets[:1].expand(targets.shape)
    stack = Stack(of_replicas)
    lengths = StackedLengths(stack.template, None)
    lengths.replicas = replicas
    batch = (inputs[0], targets[0]) if shared else (inputs, targets)
    passed = losses_of(stack, stack.rows(slice(0, replicas)), *batch, shared=shared, lengths=lengths)
    for row, net in enumerate(of_replicas):
        capture = Capture(net, None, measure=activation_lengths)
        capture.start()
        loss = cross_entropy(net(inputs[row]), targets[row])
        readings = capture.stop()
        torch.testing.assert_close(passed.losses[row], loss)
        assert lengths.names == tuple(reading.name for reading in readings)
        for norms, values, reading in zip(passed.norms, lengths.values, readings, strict=True):
            torch.testing.assert_close(norms[row].double().square() / values, reading.lengths, rtol=1e-6, atol=0)


def test_only_the_modules_that_patterns_name_are_measured():
    stack = Stack([NETS["fully connected"]() for _ in range(2)])
    watching = ActivationLengths(modules=["hidden.1.*"])
    lengths = StackedLengths(stack.template, watching.modules)
    batch = torch.randn(2, 6, *SHAPE), torch.zeros(2, 6, dtype=torch.int64)
    losses_of(stack, stack.rows(slice(0, 2)), *batch, shared=False, lengths=lengths)
    assert lengths.names[1:] and all(name.startswith("hidden.1.") for name in lengths.names[1:])


@pytest.mark.parametrize("name", VECTORIZED)
def test_nets_of_the_project_and_others_can_be_vectorized(name):
    net = NETS[name]()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    check_vectorized(net, SHAPE)
    assert not draws_random_numbers(net, SHAPE)
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize(
    ("kind", "mistake", "operation"),
    [
        (nets.Branching, "cannot be vectorized over replicas (", "data-dependent control flow"),
        (nets.Idle, "its parameter unused.weight has no part in the loss", ""),
        (nets.Counting, "its forward pass changes passes", ""),
        (nets.Hooked, "two of its nets give something else together", ""),
    ],
)
def test_what_cannot_be_vectorized_is_refused_in_one_line_that_names_the_reason(kind, mistake, operation):
    torch.manual_seed(0)
    with pytest.raises(ValueError) as error:
        check_vectorized(kind(4, 3), (4,), other=kind(4, 3))
    text = str(error.value)
    assert text.startswith(f"model = {kind.__name__}: {mistake}") and operation in text and "\n" not in text
    assert isinstance(error.value, NotVectorized) == bool(operation)


@pytest.mark.parametrize("eta", [1.0, 1e8])  # whose activations overflow
def test_co_batched_deep_nets_are_themselves_to_rounding(eta):
    torch.manual_seed(0)
    one, other = (Residual(6, 3, modules=50, width=20, scales="constant", eta=eta) for _ in range(2))
    check_vectorized(one, (6,), other=other)


def test_what_draws_random_numbers_is_found_and_no_stream_notices():
    class Noisy(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs.flatten(1)) + self.draw()

    dropout, of_python, of_numpy = NETS["dropout"](), Noisy(16, 10), Noisy(16, 10)
    of_python.draw, of_numpy.draw = random.random, lambda: np.random.rand()
    before, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    for net in (dropout, dropout.eval(), of_python, of_numpy):  # as in training, whatever it is in
        assert draws_random_numbers(net, SHAPE)
    assert torch.equal(torch.get_rng_state(), before) and random.getstate() == python
    assert np.random.get_state()[1].tolist() == numpy
