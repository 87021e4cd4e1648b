"""Jacobian and Lyapunov exponent, compared with known values, a slow loop and mean-field theory."""

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
    result = asymptotics(weight, bias, activation=activation, iterations=iterations, starts=starts)
    return result.jacobian.numpy(), result.lyapunov.numpy()


def test_both_numbers_are_exact_for_a_linear_map(generator):
    rotation = torch.linalg.qr(torch.randn(50, 50, generator=generator)).Q
    for scale in 0.5, 3.0:
        for iterations in 2, 3, 60:
            jacobian, lyapunov = numbers(scale * rotation, LINEAR, iterations=iterations)
            assert jacobian == pytest.approx(scale**2, rel=1e-5)
            assert lyapunov == pytest.approx(math.log(scale), abs=1e-6)
    eigenvalues = torch.linspace(-0.9, 0.9, 20)
    eigenvalues[-1] = 1.5  # the largest eigenvalue determines the exponent
    base = torch.randn(20, 20, generator=generator)
    weight = base @ torch.diag(eigenvalues) @ torch.linalg.inv(base)
    assert numbers(weight, LINEAR, iterations=400)[1] == pytest.approx(math.log(1.5), abs=1e-4)


@pytest.mark.parametrize("iterations", [20, 21])
@pytest.mark.parametrize(("name", "biased"), [("tanh", False), ("relu", True), ("relu", False), ("gelu", True)])
def test_both_numbers_agree_with_a_loop_over_explicit_jacobians(generator, name, biased, iterations):
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
    jacobian, lyapunov = numbers(weight, activation, bias, iterations=iterations, starts=starts)
    assert jacobian == pytest.approx(np.mean(squares), rel=1e-4)
    assert lyapunov == pytest.approx(np.mean(logs), abs=1e-4)


@pytest.mark.parametrize(("J0", "J"), [(0.0, 0.5), (0.0, 1.5), (1.5, 1.2)])
def test_both_numbers_of_gaussian_weights_agree_with_mean_field_theory(generator, sigmas, J0, J):
    """The predictions χ and ½ log χ hold for N → ∞; 8 matrices with N = 400 distinguish them from those for 1.2 J."""
    weight = gaussian(generator, 400, J, J0, matrices=(8,))
    jacobian, lyapunov = numbers(weight, nn.Tanh(), iterations=100, starts=2)
    predicted, wrong = chi(J0, J), chi(J0, 1.2 * J)
    assert sigmas(jacobian, predicted) < 4
    assert sigmas(jacobian, wrong) > 4  # the control
    if J0 or J > 1:  # below the edge it is the log of the spectral radius, which is too large at finite N
        assert sigmas(lyapunov, np.log(predicted) / 2) < 4
        assert sigmas(lyapunov, np.log(wrong) / 2) > 4
    else:
        assert (lyapunov < 0).all()


def test_dead_units_give_minus_infinity_and_overflow_or_nan_weights_give_nan(generator):
    weight = gaussian(generator, 20, 1.0)
    assert numbers(-torch.ones(20, 20), nn.ReLU())[1] == -np.inf  # every unit dies
    assert np.isnan(numbers(100 * weight.abs(), nn.GELU(), iterations=200)).all()  # the states overflow
    weight[3, 4] = math.nan
    assert np.isnan(numbers(weight, nn.Tanh())).all()
