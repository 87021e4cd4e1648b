"""The activation modules of nets, and their moments in theory."""

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

from start_training.models.activation import ACTIVATIONS, HOMOGENEOUS, activation_named
from start_training.theory.activation import LEAK


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_moments_in_theory_are_those_of_the_module(name):
    z = np.linspace(-12, 12, 240_001)  # the trapezoidal rule, with a node at the kink
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    phi = activation_named(name)(torch.from_numpy(z)).numpy()
    assert HOMOGENEOUS[name].second == pytest.approx(trapezoid(phi**2 * density, z), rel=1e-7)
    assert HOMOGENEOUS[name].mean == pytest.approx(trapezoid(phi * density, z), abs=1e-7)


def test_the_slope_of_leaky_relu_is_the_default_of_torch():
    assert torch.nn.LeakyReLU().negative_slope == LEAK


def test_every_call_creates_a_new_module():
    for name in ACTIVATIONS:
        assert activation_named(name) is not activation_named(name)
