"""The values of the schedules of residual scales, and the limits of their sums."""

import math

import pytest

from start_training.models.residual_scales import residual_scales


@pytest.mark.parametrize(
    ("schedule", "parameters", "values", "limit"),
    [
        ("constant", {"eta": 0.3}, [0.3] * 4, math.inf),
        ("inverse_depth", {}, [1 / 4] * 4, 1.0),
        ("geometric", {"base": 0.9}, [0.9, 0.81, 0.729, 0.6561], 9.0),
        ("geometric", {"base": 1.0}, [1.0] * 4, math.inf),
        ("power", {"exponent": 2.0}, [1, 1 / 4, 1 / 9, 1 / 16], math.pi**2 / 6),
        ("power", {"exponent": 1.0}, [1, 1 / 2, 1 / 3, 1 / 4], math.inf),
    ],
)
def test_schedules_have_the_expected_values_and_sums(schedule, parameters, values, limit):
    assert residual_scales(schedule, 4, **parameters) == pytest.approx(values, rel=1e-12)
    shallow, deep = (sum(residual_scales(schedule, depth, **parameters)) for depth in (500, 4000))
    assert deep > shallow + 2 if math.isinf(limit) else deep == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize(
    ("schedule", "parameters", "message"),
    [
        ("geometric", {"base": math.nan}, "base = nan: must be a number above 0"),
        ("geometric", {"base": 3.0}, r"base = 3\.0: must be smaller, since base\^2000 overflows"),
        ("harmonic", {}, "scales = 'harmonic': must be one of constant, geometric, inverse_depth, power"),
        ([1.0] * 3, {}, r"scales = \[1\.0, 1\.0, 1\.0\]: must be .* a list of 2000, one per module"),
    ],
)
def test_impossible_schedules_are_errors(schedule, parameters, message):
    assert residual_scales((3, 0.5), 2) == [3.0, 0.5]
    with pytest.raises(ValueError, match=f"^{message}"):
        residual_scales(schedule, 2000, **parameters)
