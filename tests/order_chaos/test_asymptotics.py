"""Jacobian and Lyapunov exponent: of maps whose numbers are known, by a slow loop, and against mean-field theory."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from start_training.models.activation import ACTIVATIONS
from start_training.order_chaos.asymptotics import asymptotics
from start_training.theory.edge_of_chaos import chi

LINEAR = nn.Identity()


def gaussian(generator, N, J, J0=0.0, matrices=()):
    return J0 / N + J / math.sqrt(N) * torch.randn(*matrices, N, N, generator=generator)


def numbers(weight, activation, bias=None, *, iterations=60, starts=3):
    found = asymptotics(weight, bias, activation=activation, iterations=iterations, starts=starts)
    return found.jacobian.numpy(), found.lyapunov.numpy()


def test_of_a_linear_map_both_are_exact(generator):
    rotation = torch.linalg.qr(torch.randn(50, 50, generator=generator)).Q
    for scale in 0.5, 3.0:
        for iterations in 2, 3, 60:
            jacobian, lyapunov = numbers(scale * rotation, LINEAR, iterations=iterations)
            assert jacobian == pytest.approx(scale**2, rel=1e-5)
            assert lyapunov == pytest.approx(math.log(scale), abs=1e-6)
    eigenvalues = torch.linspace(-0.9, 0.9, 20)
    eigenvalues[-1] = 1.5  # the largest is the exponent's
    base = torch.randn(20, 20, generator=generator)
    weight = base @ torch.diag(eigenvalues) @ torch.linalg.inv(base)
    assert numbers(weight, LINEAR, iterations=400)[1] == pytest.approx(math.log(1.5), abs=1e-4)


@pytest.mark.parametrize("iterations", [20, 21])
@pytest.mark.parametrize(("name", "biased"), [("tanh", False), ("relu", True), ("relu", False), ("gelu", True)])
def test_it_agrees_with_a_loop_that_writes_the_jacobian_down(generator, name, biased, iterations):
    N, starts = 12, 2
    weight = gaussian(generator, N, 1.4)
    bias = 0.3 * torch.randn(N, generator=generator) if biased else None
    activation = ACTIVATIONS[name]()
    drawn = torch.randn(2 * starts, N, generator=torch.Generator().manual_seed(0)).double()
    squares, logs = [], []

    def step(state):
        field = weight.double() @ state
        return activation(field + bias.double() if biased else field)

    for start in range(starts):
        state, tangent = 0.1 * drawn[start], drawn[starts + start]
        for iteration in range(iterations):
            jacobian = torch.autograd.functional.jacobian(step, state)
            grown = jacobian @ tangent
            if iteration >= iterations / 2:
                squares.append(float(jacobian.square().sum()) / N)
                logs.append(float((grown.norm() / tangent.norm()).log()))
            state, tangent = step(state), grown
    found = numbers(weight, activation, bias, iterations=iterations, starts=starts)
    assert found[0] == pytest.approx(np.mean(squares), rel=1e-4)
    assert found[1] == pytest.approx(np.mean(logs), abs=1e-4)


@pytest.mark.parametrize(("J0", "J"), [(0.0, 0.5), (0.0, 1.5), (1.5, 1.2)])
def test_of_gaussian_weights_both_are_those_of_mean_field_theory(generator, sigmas, J0, J):
    """χ and ½ log χ, which hold for infinitely many units: 8 matrices of 400 tell them from those of 1.2 J."""
    found = numbers(gaussian(generator, 400, J, J0, matrices=(8,)), nn.Tanh(), iterations=100, starts=2)
    predicted, wrong = chi(J0, J), chi(J0, 1.2 * J)
    assert sigmas(found[0], predicted) < 4
    assert sigmas(found[0], wrong) > 4  # the control
    if J0 or J > 1:  # below the edge it is log of the spectral radius, which few units overstate
        assert sigmas(found[1], np.log(predicted) / 2) < 4
        assert sigmas(found[1], np.log(wrong) / 2) > 4
    else:
        assert (found[1] < 0).all()


def test_what_is_not_finite_says_so(generator):
    weight = gaussian(generator, 20, 1.0)
    assert numbers(-torch.ones(20, 20), nn.ReLU())[1] == -np.inf  # every unit dies
    assert np.isnan(numbers(100 * weight.abs(), nn.GELU(), iterations=200)).all()  # past all bounds
    weight[3, 4] = math.nan
    assert np.isnan(numbers(weight, nn.Tanh())).all()
