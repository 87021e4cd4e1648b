"""Final distances of two states, and growth rates of ReLU: the fast computations agree with their definitions."""

import numpy as np
import pytest
import torch

from start_training.order_chaos import asymptotic_distance
from start_training.order_chaos.asymptotic_distance import SEPARATED, asymptotic_distance_of_one, asymptotic_distances
from start_training.order_chaos.bins import Bins
from start_training.order_chaos.random_layer import INITIAL_DISTANCE, RandomLayer, draw_layer
from start_training.order_chaos.relu_growth import relu_growth

J = np.array([0.3, 0.9, 1.3, 2.0, 8.0, 1.3, 8.0, 8.0])
J0 = J * np.array(
    [0.0, 0.5, 0.0, -1.0, 0.5, 2.0, 1.2, 2.0]
)  # ordered points without and with a mean, and chaotic points
FEW = {"iterations": 20, "average": 5}


def distances(layer: RandomLayer, J0, J, **settings) -> np.ndarray:
    return np.concatenate(list(asymptotic_distances(layer, J0, J, **settings)))


@pytest.fixture
def plane():
    inverse_J, ratio = np.meshgrid(Bins(0, 2, 12).centres, Bins(-1, 2, 18).centres, indexing="ij")
    return ratio / inverse_J, 1 / inverse_J


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 2e-2)])
def test_distances_from_a_shared_matrix_agree_with_those_from_a_matrix_per_point(dtype, tolerance):
    layer = draw_layer(60, seed=0, number=0, dtype=dtype)
    exact = draw_layer(60, seed=0, number=0, dtype=torch.float64)
    slow = np.array([asymptotic_distance_of_one(exact, j0, j, **FEW) for j0, j in zip(J0, J, strict=True)])
    np.testing.assert_allclose(distances(layer, J0, J, **FEW), slow, rtol=tolerance, atol=1e-6)
    assert np.ptp(np.log(slow[slow > 1e-6])) > 3  # the distances differ by more than a factor e³
    wrong = np.array([asymptotic_distance_of_one(exact, -j0, j, **FEW) for j0, j in zip(J0, J, strict=True)])
    assert not np.allclose(wrong, slow, rtol=0.1)  # the test can fail


def test_stopping_merged_states_does_not_change_the_phases(plane, monkeypatch):
    layer, settings = draw_layer(100, seed=0, number=0), {"iterations": 200, "average": 50}
    quick = distances(layer, *plane, **settings)
    monkeypatch.setattr(asymptotic_distance, "MERGED", -1.0)
    whole = distances(layer, *plane, **settings)
    np.testing.assert_array_equal(quick > SEPARATED, whole > SEPARATED)
    assert (np.abs(quick - whole) > 1e-5).mean() < 0.005
    assert (quick == 0).mean() > 0.5 > (whole == 0).mean()
    monkeypatch.setattr(asymptotic_distance, "MERGED", 10 * INITIAL_DISTANCE)  # the test can fail
    assert ((distances(layer, *plane, **settings) > SEPARATED) != (whole > SEPARATED)).any()


def test_a_layer_is_a_function_of_seed_number_and_size():
    layer, same = (draw_layer(40, seed=1, number=2) for _ in range(2))
    assert torch.equal(layer.G, same.G)
    for seed, number in ((1, 3), (2, 2), (2, 1)):
        assert not torch.equal(layer.G, draw_layer(40, seed=seed, number=number).G)
    apart = (layer.states[0] - layer.states[1]).double().square().mean().sqrt()
    assert float(apart) == pytest.approx(INITIAL_DISTANCE, rel=1e-2)  # float32's rounding
    W = draw_layer(1000, seed=0, number=0).weight(J0=-2.0, J=1.5)
    assert abs(float(W.mean()) * 1000 + 2) < 4 * 1.5 / 1000**0.5
    assert float(W.std()) * 1000**0.5 == pytest.approx(1.5, rel=4 / 1000 / 2**0.5)


@torch.no_grad()
def relu_growth_of_one(
    layer: RandomLayer, J0: float, J: float, *, iterations: int, average: int
) -> tuple[float, float]:
    """Compute the growth rates of norm and distance at one point from their definition, without normalizing the states.

    The states grow exponentially, so that the number of iterations must be small.
    """
    W, (x, y) = layer.weight(J0, J), layer.states
    rates = []
    for _ in range(iterations):
        y = x + (y * x.norm() / y.norm() - x) * (INITIAL_DISTANCE * x.norm() / (y * x.norm() / y.norm() - x).norm())
        before, (x, y) = x.norm(), (torch.relu(W @ x), torch.relu(W @ y))
        apart = (x / x.norm() - y / y.norm()).norm()
        rates.append(((x.norm() / before).log(), (apart / INITIAL_DISTANCE).log()))
    norm, distance = torch.tensor(rates[-average:], dtype=torch.float64).mean(0).tolist()
    return norm, distance


@pytest.mark.parametrize("ratio", [0.0, 0.6, 2.0])
def test_relu_growth_agrees_with_its_definition_for_any_J(ratio):
    layer = draw_layer(60, seed=0, number=0, dtype=torch.float64)
    growth = relu_growth(layer, [ratio, -ratio], iterations=15, average=10)
    for J in (0.7, 1.0, 3.0):
        norm, distance = relu_growth_of_one(layer, ratio * J, J, iterations=15, average=10)
        assert distance == pytest.approx(growth.distance[0], rel=1e-6)
        assert norm == pytest.approx(growth.norm[0] + np.log(J), rel=1e-9)


def test_relu_growth_is_nan_if_all_units_die():
    layer = RandomLayer(-torch.ones(5, 5), torch.tensor([[1.0] * 5, [1.0 + 2 * INITIAL_DISTANCE] + [1.0] * 4]))
    assert np.isnan(relu_growth(layer, [0.0], iterations=3, average=1).distance).all()
