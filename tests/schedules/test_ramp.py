"""Ramps go through the rates they say, exactly at both ends."""

import numpy as np
import pytest

from src.schedules.ramp import RAMPS, ramp


@pytest.mark.parametrize("kind", RAMPS)
@pytest.mark.parametrize(("low", "high"), [(1e-5, 10.0), (0.003, 0.7), (1, 2)])
@pytest.mark.parametrize("steps", [2, 3, 57, 1000])
def test_it_rises_from_the_first_rate_to_the_last(kind, low, high, steps):
    rates = ramp(steps, min_lr=low, max_lr=high, kind=kind)
    assert rates.shape == (steps,)
    assert (rates[0], rates[-1]) == (low, high)
    assert (np.diff(rates) > 0).all()


def test_linear_by_differences_exponential_by_ratios():
    linear, exponential = (ramp(50, min_lr=0.01, max_lr=1.0, kind=kind) for kind in ("linear", "exponential"))
    np.testing.assert_allclose(np.diff(linear), 0.99 / 49)
    np.testing.assert_allclose(exponential[1:] / exponential[:-1], 100 ** (1 / 49))
    assert not np.allclose(np.diff(exponential), 0.99 / 49)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_lr": 1.0}, "^min_lr = 1.0: must be below max_lr, 1.0"),
        ({"min_lr": -1.0}, "^min_lr = -1.0: "),
        ({"max_lr": float("inf")}, "^max_lr = inf: "),
        ({"steps": 1}, "^steps = 1: "),
        ({"kind": "quadratic"}, "^ramp = 'quadratic': must be one of exponential, linear"),
    ],
)
def test_settings_no_ramp_could_have_are_named(settings, message):
    settings = {"steps": 10, "min_lr": 0.1, "max_lr": 1.0, **settings}
    with pytest.raises(ValueError, match=message):
        ramp(settings.pop("steps"), **settings)
