"""The edge of chaos in theory: its fixed point solves its equations and is the stable one, and what is known of it."""

import numpy as np
import pytest
from scipy.stats import norm

from src.theory.edge_of_chaos import boundary, chi, distance_without_mean, fixed_point
from src.theory.edge_of_chaos_relu import relu_rates

# (J0, J): paramagnet, chaos without a mean, order with a mean, chaos with one; alternating
POINTS = [(0.5, 0.8), (0.3, 2.0), (1.8, 1.2), (12.0, 10.0), (30.0, 20.0), (-0.5, 1.7), (-3.0, 1.5)]


Z, DZ = np.linspace(-9, 9, 6001, retstep=True)
WEIGHTS = DZ * norm.pdf(Z)  # the trapezoidal rule, which is exact to many digits for what vanishes at its ends


def means(J0: float, J: float, u: float, q: float) -> tuple[float, float, float]:
    """E tanh, E tanh² and J² E tanh'², by another quadrature."""
    t = np.tanh(J0 * u + J * np.sqrt(q) * Z)
    return float(WEIGHTS @ t), float(WEIGHTS @ t**2), float(J**2 * WEIGHTS @ (1 - t**2) ** 2)


@pytest.mark.parametrize("J0, J", POINTS)
def test_the_fixed_point_solves_its_equations(J0, J):
    u, q = (float(value) for value in fixed_point(J0, J))
    first, second, slope = means(abs(J0), J, u, q)
    np.testing.assert_allclose([u, q, float(chi(J0, J))], [first, second, slope], atol=1e-7)


@pytest.mark.parametrize("J0, J", POINTS)
def test_the_fixed_point_is_the_one_that_iteration_from_a_mean_reaches(J0, J):
    u, q = 1.0, 1.0
    for _ in range(3000):
        u, q, _ = means(abs(J0), J, u, q)
    np.testing.assert_allclose(np.ravel(fixed_point(J0, J)), [u, q], atol=1e-6)


def test_a_mean_forms_where_the_state_without_one_is_unstable():
    def slope(J: float, q: float) -> float:
        return float(WEIGHTS @ (1 - np.tanh(J * np.sqrt(q) * Z) ** 2))

    J = np.array([0.5, 1.0, 2.0, 5.0])
    q = fixed_point(0.0, J).q
    critical = np.array([1 / slope(j, k) for j, k in zip(J, q, strict=True)])
    assert (fixed_point(0.99 * critical, J).u == 0).all()
    assert (fixed_point(1.01 * critical, J).u > 0.01).all()


def test_the_plane_of_the_paper_is_covered_to_the_last_digits():
    ratio, inverse_J = np.meshgrid(np.linspace(-1, 2, 31), np.linspace(0.005, 2, 21))
    u, q = fixed_point(ratio / inverse_J, 1 / inverse_J)
    assert u.shape == q.shape == (21, 31)
    assert ((u >= 0) & (u**2 <= q + 1e-12) & (q <= 1)).all()
    x = chi(ratio / inverse_J, 1 / inverse_J)
    edge = boundary(ratio[0])
    away = np.abs(inverse_J - edge) > 1e-9
    np.testing.assert_array_equal((x > 1)[away], (inverse_J < edge)[away])  # one transition in each column


def test_without_a_mean_the_edge_is_at_one():
    np.testing.assert_array_equal(boundary([-1, -0.3, 0, 0.7, 1]), 1)
    J = np.array([0.2, 0.9, 1.0])
    np.testing.assert_allclose(chi(0.9 * J, J), J**2)
    assert (chi([0, 0.5, -0.5], [1.01, 1.1, 1.1]) > 1).all()
    assert (fixed_point(0.5, 0.9).u, fixed_point(0.5, 0.9).q) == (0, 0)


@pytest.mark.parametrize("ratio", [1.001, 1.2, 1.5, 2.0, 3.0])
def test_beyond_it_bends_down_to_where_chi_is_one(ratio):
    edge = float(boundary(ratio))
    assert 0 < edge < 1
    assert float(chi(ratio / edge, 1 / edge)) == pytest.approx(1, abs=1e-5)
    assert float(chi(ratio / edge * 1.1, 1.1 / edge)) > 1 > float(chi(ratio / edge / 1.1, 1 / edge / 1.1))
    assert float(boundary(-ratio)) == edge


def test_so_far_out_that_nothing_is_chaotic_the_edge_is_at_zero():
    assert float(boundary(6.0)) == 0


@pytest.mark.parametrize(
    "J0, J, said",
    [(0, 0, "J = 0: "), (0, -1, "J = -1: "), (np.nan, 1, "J0 = nan: "), ([0, 1], [1, np.inf], "J = inf: ")],
)
def test_what_has_no_fixed_point_is_named(J0, J, said):
    for function in (fixed_point, chi):
        with pytest.raises(ValueError, match=f"^{said}must be "):
            function(J0, J)
    with pytest.raises(ValueError, match="must be finite"):
        boundary([0, np.inf])


def test_a_distance_is_that_of_independent_states():
    assert float(distance_without_mean(0.9)) == 0
    assert float(distance_without_mean(1000.0)) == pytest.approx(np.sqrt(2), abs=1e-2)  # all units at ±1
    assert float(distance_without_mean(1.01)) == pytest.approx(np.sqrt(2 * 0.01), rel=0.05)  # q = J − 1 near the edge


def test_relu_has_its_edge_where_the_mean_of_weights_changes_sign():
    ratios = np.array([-2.0, -1.0, -0.01, 0.0, 0.01, 1.0, 2.0])
    rates = relu_rates(ratios)
    np.testing.assert_array_equal(np.sign(rates.distance.round(12)), [1, 1, 1, 0, -1, -1, -1])
    assert (np.diff(rates.norm) > 0).all()
    assert rates.norm[3] == pytest.approx(np.log(0.5) / 2)  # J² = 2 keeps the norm: Var W = 2/N


@pytest.mark.parametrize("ratio", [-0.8, 0.4, 1.7])
def test_relus_rates_are_those_of_means_over_a_gaussian(ratio):
    s = 0.5
    for _ in range(200):
        x = np.maximum(ratio * s + Z, 0)
        first, second, active = WEIGHTS @ x, WEIGHTS @ x**2, norm.cdf(ratio * s)
        s = first / np.sqrt(second)
    rates = relu_rates(ratio)
    np.testing.assert_allclose(
        [rates.norm, rates.distance], [np.log(second) / 2, np.log(active / second) / 2], atol=1e-6
    )
    with pytest.raises(ValueError, match="must be finite"):
        relu_rates(np.nan)
