"""The scaling variable, and exponents with intervals that hold what they say."""

import numpy as np
import pytest

from src.order_chaos.scaling import fit_exponent, scaling_variable

X = np.logspace(-3, -1, 8)


def test_the_scaling_variable_of_the_papers_settings():
    assert scaling_variable(0.01, 0.9, 32) == pytest.approx(0.01 / 3.2)
    assert scaling_variable(0.01, 0.0, 32) == scaling_variable(0.02, 0.5, 128)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 0.5, 32), "eta = 0"), ((0.1, 1.0, 32), "alpha = 1.0"), ((0.1, 0.5, 0), "batch = 0")],
)
def test_a_setting_without_one_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}: "):
        scaling_variable(*arguments)


@pytest.mark.parametrize("exponent", [1.0, 0.7])
def test_a_power_law_is_fitted_exactly(exponent):
    fitted = fit_exponent(X, 40 * X**exponent)
    assert (fitted.value, fitted.points) == (pytest.approx(exponent), 8)
    assert fitted.low == pytest.approx(fitted.high)


def coverage(true: float, runs: int = 2_000) -> float:
    """How many intervals hold `true`, of noisy power laws of exponent 1 with two seeds at each of eight points."""
    random, x, held = np.random.default_rng(0), np.repeat(X, 2), 0
    for _ in range(runs):
        fitted = fit_exponent(x, x * np.exp(0.2 * random.normal(size=len(x))))
        held += fitted.low <= true <= fitted.high
    return held / runs


def test_the_interval_holds_the_truth_in_95_of_100():
    error = np.sqrt(0.95 * 0.05 / 2_000)
    assert abs(coverage(1.0) - 0.95) < 4 * error
    assert coverage(1.1) < 0.95 - 4 * error  # the control


@pytest.mark.parametrize(
    ("x", "slopes", "message"),
    [
        ([1, 2, 2], [1, 2, 2], "at least three different values"),
        ([1, 2, 3], [1, 0, 2], "slopes = 0: must be above 0"),
        ([0, 1, 2], [1, 1, 2], "x = 0: must be above 0"),
    ],
)
def test_what_has_no_exponent_is_refused(x, slopes, message):
    with pytest.raises(ValueError, match=message):
        fit_exponent(x, slopes)
