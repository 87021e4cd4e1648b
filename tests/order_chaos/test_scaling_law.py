"""The scaling variable, and fitted exponents with their confidence intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress, t

from start_training.order_chaos.scaling_law import fit_exponent, scaling_variable


def test_the_scaling_variable_is_the_effective_learning_rate_per_sample():
    assert scaling_variable(0.01, 0.9, 32) == pytest.approx(0.01 / 3.2)
    assert scaling_variable(0.01, 0.0, 32) == scaling_variable(0.02, 0.5, 128)


@given(st.integers(0, 2**32), st.integers(3, 12), st.floats(0.0, 0.5))
def test_an_exponent_and_its_interval_agree_with_scipy(seed, points, noise):
    random = np.random.default_rng(seed)
    x = np.logspace(-3, -1, points)
    slopes = 40 * x**0.7 * np.exp(noise * random.normal(size=points))
    fit, expected = fit_exponent(x, slopes), linregress(np.log(x), np.log(slopes))
    reach = t.ppf(0.975, points - 2) * expected.stderr
    assert (fit.value, fit.points) == (pytest.approx(expected.slope), points)
    assert (fit.low, fit.high) == pytest.approx((fit.value - reach, fit.value + reach), abs=1e-6)


def test_values_without_a_scaling_variable_or_exponent_are_named():
    for arguments, message in (((0, 0.5, 32), "eta = 0: "), ((0.1, 1, 32), "alpha = 1"), ((0.1, 0, 0), "batch = 0: ")):
        with pytest.raises(ValueError, match=f"^{message}"):
            scaling_variable(*arguments)
    with pytest.raises(ValueError, match=r"^x = \[1.0, 2.0\]: must hold at least three different values"):
        fit_exponent([1, 2, 2], [1, 2, 2])
    with pytest.raises(ValueError, match=r"^slopes = 0: must be above 0"):
        fit_exponent([1, 2, 3], [1, 0, 2])
