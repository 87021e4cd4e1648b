"""The fixed points, chi and boundary of the edge of chaos, against quadrature, iteration and known limits."""

import numpy as np
import pytest
from scipy.stats import norm

from start_training.theory.edge_of_chaos import boundary, chi, distance_without_mean, fixed_point
from start_training.theory.edge_of_chaos_relu import relu_rates
from tests.theory.by_hand import Z, gaussian_mean

# Points of all phases: order and chaos without a mean, order and chaos with a mean, and an alternating mean.
J0S, JS = np.array([(0.5, 0.8), (0.3, 2.0), (1.8, 1.2), (12.0, 10.0), (30.0, 20.0), (-0.5, 1.7), (-3.0, 1.5)]).T


def means(J0, J, u, q):
    """Compute E tanh, E tanh² and J² E tanh'² by another quadrature."""
    t = np.tanh(abs(J0) * u + J * np.sqrt(q) * Z)
    return gaussian_mean(t), gaussian_mean(t**2), J**2 * gaussian_mean((1 - t**2) ** 2)


def test_the_fixed_point_solves_its_equations_and_is_the_limit_of_iteration():
    u, q, factor = *fixed_point(J0S, JS), chi(J0S, JS)
    for point, (J0, J) in enumerate(zip(J0S, JS, strict=True)):
        state = u[point], q[point]
        np.testing.assert_allclose(means(J0, J, *state), [*state, factor[point]], atol=1e-7)
        away = min(state[0] + 0.01, 1), min(state[1] + 0.01, 1)
        for _ in range(200):
            away = means(J0, J, *away)[:2]
        np.testing.assert_allclose(state, away, atol=0.005)


def test_the_mean_is_positive_if_the_state_with_mean_0_is_unstable():
    J = np.array([0.5, 1.0, 2.0, 5.0])
    q = fixed_point(0.0, J).q
    critical = np.array([1 / gaussian_mean(1 - np.tanh(j * np.sqrt(k) * Z) ** 2) for j, k in zip(J, q, strict=True)])
    assert (fixed_point(0.99 * critical, J).u == 0).all()
    assert (fixed_point(1.01 * critical, J).u > 0.01).all()
    assert (q[:2] == 0).all() and (fixed_point([1.0, -1.0], 0.7).u == 0).all()


def test_fixed_points_exist_in_the_whole_phase_diagram_of_the_paper():
    ratio, inverse_J = np.meshgrid(np.linspace(-1, 2, 16), np.linspace(0.005, 2, 21))
    u, q = fixed_point(ratio / inverse_J, 1 / inverse_J)
    assert u.shape == q.shape == (21, 16)
    assert ((u >= 0) & (u**2 <= q + 1e-12) & (q <= 1)).all()
    edge = boundary(ratio[0])
    away = np.abs(inverse_J - edge) > 1e-9
    ordered = chi(ratio / inverse_J, 1 / inverse_J) <= 1
    np.testing.assert_array_equal(ordered[away], (inverse_J > edge)[away])  # one transition in each column


def test_the_edge_of_chaos_is_at_J_1_for_small_J0():
    np.testing.assert_array_equal(boundary([-1, -0.3, 0, 0.7, 1]), 1)
    J = np.array([0.2, 0.9, 1.0])
    np.testing.assert_allclose(chi(0.9 * J, J), J**2)
    assert (chi([0, 0.5, -0.5], [1.01, 1.1, 1.1]) > 1).all()


def test_for_J0_above_J_the_edge_of_chaos_is_where_chi_is_1_up_to_the_largest_J():
    ratios = np.array([1.001, 1.5, -1.5, 3.0, 4.1, 4.2])
    edge = boundary(ratios)
    assert (np.diff(np.delete(edge, 2)) < 0).all() and edge[1] == edge[2]
    assert edge[4] > 1e-4 and edge[5] == 0  # where 1/J would be 8e-5
    np.testing.assert_allclose(chi(ratios[:4] / edge[:4], 1 / edge[:4]), 1, atol=1e-5)


def test_impossible_J0_and_J_are_errors():
    for function in fixed_point, chi:
        for J0, J, name in (0, 0, "J = 0"), (0, -1, "J = -1"), (np.nan, 1, "J0 = nan"), (0, [1, np.inf], "J = inf"):
            with pytest.raises(ValueError, match=f"^{name}: must be "):
                function(J0, J)
    for function in boundary, relu_rates:
        with pytest.raises(ValueError, match=r"must be (a )?finite"):
            function([0, np.inf])


def test_the_final_distance_is_that_of_independent_states():
    assert float(distance_without_mean(0.9)) == 0
    assert float(distance_without_mean(1e4)) == pytest.approx(np.sqrt(2), abs=1e-4)  # all units at ±1
    assert float(distance_without_mean(1.01)) == pytest.approx(np.sqrt(2 * 0.01), rel=0.05)  # q = J − 1 near the edge


@pytest.mark.parametrize("ratio", [-20.0, -2.0, -0.8, 0.0, 0.4, 1.7, 5.0])
def test_relu_rates_agree_with_iteration_and_quadrature(ratio):
    def step(s):
        x = np.maximum(ratio * s + Z, 0)
        return gaussian_mean(x) / np.sqrt(gaussian_mean(x**2))

    s = 0.3
    for _ in range(300):
        s = (s + step(s)) / 2  # far below 0 it would alternate
    second, active = gaussian_mean(np.maximum(ratio * s + Z, 0) ** 2), norm.cdf(ratio * s)
    of_mean, of_rest = abs(step(s + 1e-4) - step(s - 1e-4)) / 2e-4, np.sqrt(active / second)
    norm_rate, distance = relu_rates(ratio)
    np.testing.assert_allclose([norm_rate, np.exp(distance)], [np.log(second) / 2, max(of_mean, of_rest)], atol=1e-5)
    assert np.sign(distance.round(12)) == -np.sign(ratio)  # the edge is at 0


def test_relu_rates_are_monotone_even_if_moments_underflow():
    rates = relu_rates([-1000.0, -100.0, -30.0, -2.0])
    assert (np.diff(rates.norm) > 0).all() and (np.diff(rates.distance) < 0).all()
