"""Nets that cannot be trained as replicas are refused, and nets that draw random numbers are found."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from start_training.models.residual import Residual
from start_training.replicas.vectorization_check import NotVectorized, check_vectorized, draws_random_numbers
from tests.replicas import nets
from tests.replicas.nets import NETS, SHAPE, VECTORIZED


@pytest.mark.parametrize("name", VECTORIZED)
def test_nets_of_the_project_and_custom_nets_can_be_vectorized(name):
    net = NETS[name]()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    check_vectorized(net, SHAPE)
    assert not draws_random_numbers(net, SHAPE)
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize(
    ("kind", "mistake", "operation"),
    [
        (nets.Branching, "cannot be vectorized over replicas (", "data-dependent control flow"),
        (nets.Idle, "parameter unused.weight has no gradient", ""),
        (nets.Counting, "its forward pass changes passes", ""),
        (nets.Hooked, "outputs of two nets stacked as replicas differ", ""),
    ],
)
def test_a_net_that_cannot_be_a_replica_is_refused_with_the_reason_in_one_line(kind, mistake, operation):
    torch.manual_seed(0)
    with pytest.raises(ValueError) as error:
        check_vectorized(kind(4, 3), (4,), other=kind(4, 3))
    text = str(error.value)
    assert text.startswith(f"model = {kind.__name__}: {mistake}") and operation in text and "\n" not in text
    assert isinstance(error.value, NotVectorized) == bool(operation)


@pytest.mark.parametrize("eta", [1.0, 1e8])  # with eta = 1e8 activations overflow
def test_deep_nets_pass_the_check_despite_rounding_errors(eta):
    torch.manual_seed(0)
    one, other = (Residual(6, 3, modules=50, width=20, scales="constant", eta=eta) for _ in range(2))
    check_vectorized(one, (6,), other=other)


def test_nets_that_draw_random_numbers_are_found_and_random_streams_are_restored():
    class Noisy(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs.flatten(1)) + self.draw()

    dropout, of_python, of_numpy = NETS["dropout"](), Noisy(16, 10), Noisy(16, 10)
    of_python.draw, of_numpy.draw = random.random, lambda: np.random.rand()
    before, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    for net in (dropout, dropout.eval(), of_python, of_numpy):  # checked in training mode, whatever the mode of the net
        assert draws_random_numbers(net, SHAPE)
    assert torch.equal(torch.get_rng_state(), before) and random.getstate() == python
    assert np.random.get_state()[1].tolist() == numpy
