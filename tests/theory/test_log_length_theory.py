"""The law of log M, against numerical integration and the limits of wide layers."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, chi2

from src.initializers.initializer import Fans
from src.initializers.variance_scaling import VarianceScaling
from src.theory.length_variance import log_moment_ratio
from src.theory.log_length import log_length, log_survival


def integrated(n, power):
    """E[(log χ²_K)^power given K > 0], K ~ Binomial(n, 1/2), by quadrature over t = log χ²."""
    share = binom.pmf(range(1, n + 1), n, 0.5) / (1 - 0.5**n)
    parts = [quad(lambda t, k=k: t**power * chi2.pdf(math.exp(t), k) * math.exp(t), -60, 6)[0] for k in range(1, n + 1)]
    return share @ np.array(parts)


@pytest.mark.parametrize("n", [1, 2, 5, 12])
@pytest.mark.parametrize("kappa", [2.0, 0.5])
def test_moments_of_one_layer_by_integration(n, kappa):
    law = log_length([n], kappa)
    mean = integrated(n, 1)
    assert law.mean[0] == pytest.approx(math.log(kappa / n) + mean, rel=1e-6, abs=1e-6)
    assert law.variance[0] == pytest.approx(integrated(n, 2) - mean**2, rel=1e-6)
    assert math.exp(law.log_survival[0]) == pytest.approx(1 - 0.5**n, rel=1e-12)


@pytest.mark.parametrize("n", [100, 400, 3200])
def test_wide_layers_lose_five_halves_of_their_share_and_vary_by_five_shares(n):
    law = log_length([n])
    assert law.variance[0] == pytest.approx(5 / n, abs=40 / n**2)
    assert law.mean[0] == pytest.approx(-5 / (2 * n), abs=15 / n**2)


def test_moments_add_over_layers_of_any_width():
    widths, kappas = [3, 8, 5], [2.0, 1.0, 0.3]
    law = log_length(widths, kappas)
    layers = [log_length([n], kappa) for n, kappa in zip(widths, kappas, strict=True)]
    for field in law._fields:
        expected = np.cumsum([getattr(layer, field)[0] for layer in layers])
        np.testing.assert_allclose(getattr(law, field), expected, rtol=1e-13, err_msg=field)


def test_a_typical_net_is_shorter_than_the_mean_of_all():
    law = log_length([60] * 60)
    assert law.mean[-1] < -2
    assert (law.mean < 0).all()
    assert law.mean[-1] + law.variance[-1] / 2 == pytest.approx(0, abs=0.1)  # nearly lognormal of mean 1
    assert law.variance[-1] == pytest.approx(log_moment_ratio([60] * 60)[-1], rel=0.15)


@pytest.mark.parametrize("depth, dead", [(100, 0.093), (2000, 0.858)])
def test_the_share_of_dead_nets_of_width_ten(depth, dead):
    survival = math.exp(log_survival([10] * depth)[-1])
    assert survival == pytest.approx((1 - 2.0**-10) ** depth, rel=1e-12)
    assert 1 - survival == pytest.approx(dead, abs=1e-3)


@pytest.mark.parametrize("kappa", [4.0, 0.3])
def test_no_depth_overflows(kappa):
    law = log_length([200] * 2000, kappa)
    one = log_length([200], kappa)
    np.testing.assert_allclose([field[-1] for field in law], [2000 * field[0] for field in one], rtol=1e-10)
    assert log_survival([5000])[0] == 0  # 2^-5000 is below float64


def test_truncation_at_two_deviations_leaves_0_7737_of_the_variance():
    kappa = VarianceScaling(2.0, distribution="truncated_normal").kappa(Fans(50, 50))
    assert kappa / 2 == pytest.approx(0.7737, abs=5e-5)


@pytest.mark.parametrize(
    "widths, kappas, message",
    [
        ([10, 0], 2.0, r"^widths = \[10\.0, 0\.0\]: a width must be positive"),
        ([10], 0.0, r"^kappas = \[0\.0\]: a weight variance must be positive"),
    ],
)
def test_impossible_layers_are_mistakes(widths, kappas, message):
    with pytest.raises(ValueError, match=message):
        log_length(widths, kappas)
