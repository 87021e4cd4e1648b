"""The moments of log M, against numerical integration and the limits of wide layers."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, chi2

from start_training.theory.log_length import log_length, log_survival


def integrated(n, power):
    """Compute E[(log χ²_K)^power given K > 0], K ~ Binomial(n, 1/2), by quadrature over t = log χ²."""
    share = binom.pmf(range(1, n + 1), n, 0.5) / (1 - 0.5**n)

    def density(t):
        return share @ chi2.pdf(math.exp(t), range(1, n + 1)) * math.exp(t)

    return quad(lambda t: t**power * density(t), -60, 6, points=(-8, 0))[0]


@pytest.mark.parametrize("n, kappa", [(1, 2.0), (2, 0.5), (5, 3.0)])
def test_moments_of_one_layer_agree_with_numerical_integration(n, kappa):
    law = log_length([n], kappa)
    mean = integrated(n, 1)
    assert law.mean[0] == pytest.approx(math.log(kappa / n) + mean, rel=1e-6, abs=1e-6)
    assert law.variance[0] == pytest.approx(integrated(n, 2) - mean**2, rel=1e-6)
    assert math.exp(law.log_survival[0]) == pytest.approx(1 - 0.5**n, rel=1e-12)


@pytest.mark.parametrize("widths, kappas", [([3, 8, 5], [2.0, 1.0, 0.3]), ([90] * 1200, [0.3] * 1200)])
def test_moments_add_up_over_layers(widths, kappas):
    law = log_length(widths, kappas)
    layers = {n: log_length([n], kappa) for n, kappa in zip(widths, kappas, strict=True)}
    for field in law._fields:
        expected = np.cumsum([getattr(layers[n], field)[0] for n in widths])
        np.testing.assert_allclose(getattr(law, field), expected, rtol=1e-10, err_msg=field)


def test_wide_layers_have_mean_minus_5_over_2n_and_variance_5_over_n():
    law = log_length([400])
    assert law.mean[-1] == pytest.approx(-5 / 800, abs=1e-4)
    assert law.variance[-1] == pytest.approx(5 / 400, abs=2.5e-4)


def test_the_share_of_dead_nets_follows_from_the_widths():
    np.testing.assert_allclose(np.exp(log_survival([10] * 2000)), (1 - 2.0**-10) ** np.arange(1, 2001), rtol=1e-12)
    assert 1 - math.exp(log_survival([10] * 100)[-1]) == pytest.approx(0.093, abs=1e-3)
    assert log_survival([5000])[0] == 0  # 2^-5000 is below float64
