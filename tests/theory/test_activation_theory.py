"""Theory's activations are those that nets are built with: torch's, values and derivatives."""

import numpy as np
import pytest
import torch

from src.models.activation import ACTIVATIONS as BUILT
from src.models.activation import HOMOGENEOUS, activation_named
from src.theory.activation import ACTIVATIONS

X = np.concatenate([-np.geomspace(1e-6, 40, 60), np.geomspace(1e-6, 40, 60), [-1e4, 1e4]])


def by_torch(name):
    x = torch.from_numpy(X).requires_grad_()
    y = activation_named(name)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return y.detach().numpy(), gradient.numpy()


def test_theory_has_every_activation_a_net_can_have():
    assert set(ACTIVATIONS) == set(BUILT)
    assert {name: ACTIVATIONS[name] for name in HOMOGENEOUS} == HOMOGENEOUS


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_derivatives_are_torchs(name):
    values, derivatives = by_torch(name)
    np.testing.assert_allclose(ACTIVATIONS[name].value(X), values, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(ACTIVATIONS[name].derivative(X), derivatives, rtol=1e-9, atol=1e-15)


def test_no_two_activations_are_alike():
    values = {name: activation.value(X) for name, activation in ACTIVATIONS.items()}
    for name, ours in values.items():
        assert sum(np.allclose(ours, other, rtol=1e-3) for other in values.values()) == 1, name
