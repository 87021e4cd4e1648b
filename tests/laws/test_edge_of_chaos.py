"""Random layers with a few hundred units, compared with the theory of infinitely many units."""

import numpy as np
import pytest
import torch

from start_training.order_chaos.asymptotic_distance import (
    SEPARATED,
    asymptotic_distance_of_one,
    asymptotic_distances,
    transition,
)
from start_training.order_chaos.bins import Bins
from start_training.order_chaos.random_layer import draw_layer
from start_training.order_chaos.relu_growth import relu_growth
from start_training.theory.edge_of_chaos import boundary, chi, distance_without_mean
from start_training.theory.edge_of_chaos_relu import relu_rates


def simulated(N: int, matrices: int, J0, J, **settings) -> np.ndarray:
    """Compute the final distances of two states, shape (matrices, points)."""
    layers = (draw_layer(N, seed=0, number=number) for number in range(matrices))
    return np.array([np.concatenate(list(asymptotic_distances(layer, J0, J, **settings))) for layer in layers])


@pytest.mark.parametrize("ratio", [-0.5, 1.5])
def test_states_separate_in_the_chaotic_phase_and_converge_in_the_ordered_phase(ratio):
    J = 1 / (float(boundary(ratio)) * np.array([0.4, 1.3]))
    below, above = simulated(400, 3, ratio * J, J, iterations=300, average=50).T
    assert (below > SEPARATED).all()
    assert (above < SEPARATED).all()


@pytest.mark.parametrize("J0, J, early, late", [(0.0, 2.0, 10, 20), (6.0, 5.0, 5, 8), (1.5, 1.2, 8, 12)])
def test_squared_distances_grow_by_chi_per_iteration(J0, J, early, late, sigmas):
    layers = [draw_layer(500, seed=0, number=number, dtype=torch.float64) for number in range(30)]
    first, last = (
        np.array([asymptotic_distance_of_one(layer, J0, J, iterations=end, average=1) for layer in layers]) ** 2
        for end in (early, late)
    )
    growth, factor = last / first.mean(), float(chi(J0, J))  # a law of means of squares
    assert sigmas(growth, factor ** (late - early)) < 4
    assert sigmas(growth, (1.25 * factor) ** (late - early)) > 4  # the test can fail


def test_without_a_mean_chaotic_states_become_independent(sigmas):
    J = np.array([2.0, 4.0])
    distances = simulated(500, 10, 0 * J, J, iterations=300, average=150)
    assert (sigmas(distances, distance_without_mean(J)) < 4).all()
    assert (sigmas(distances, distance_without_mean(0.9 * J)) > 4).all()  # the test can fail


def test_the_measured_transition_approaches_J_1_with_size():
    rows, sizes = Bins(0.4, 1.1, 28), {40: 20, 250: 6}
    J = 1 / rows.centres
    places = [
        transition(rows.edges, simulated(N, matrices, 0 * J, J, iterations=300, average=50), axis=1)
        for N, matrices in sizes.items()
    ]
    means, errors = ([f(place) for place in places] for f in (np.mean, lambda x: x.std(ddof=1) / len(x) ** 0.5))
    assert means[0] + 4 * np.hypot(*errors) < means[1] < 1


def test_measured_relu_rates_are_those_of_theory(sigmas):
    ratios = np.array([-1.0, -0.5, 0.5, 1.5])
    growth = [relu_growth(draw_layer(1000, seed=0, number=n), ratios, iterations=100, average=60) for n in range(6)]
    theory = relu_rates(ratios)
    for measured, predicted in zip(zip(*growth, strict=True), theory, strict=True):
        assert (sigmas(np.array(measured), predicted) < 4).all()
        assert (sigmas(np.array(measured), predicted + 0.15) > 4).all()  # the test can fail
