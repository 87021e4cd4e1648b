"""The values of the scale schedules, and whether their sums stay bounded."""

import math

import pytest

from src.models.residual_scales import SCHEDULES, residual_scales

VALUES = {
    "constant": ({"eta": 0.3}, [0.3, 0.3, 0.3, 0.3]),
    "inverse_depth": ({}, [1 / 4] * 4),
    "geometric": ({"base": 0.5}, [1 / 2, 1 / 4, 1 / 8, 1 / 16]),
    "power": ({"exponent": 2.0}, [1, 1 / 4, 1 / 9, 1 / 16]),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_has_its_values(schedule):
    parameters, expected = VALUES[schedule]
    assert residual_scales(schedule, 4, **parameters) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "schedule, parameters, limit",
    [
        ("inverse_depth", {}, 1.0),
        ("geometric", {"base": 0.9}, 9.0),
        ("power", {"exponent": 2.0}, math.pi**2 / 6),
        ("power", {"exponent": 1.0}, math.inf),
        ("geometric", {"base": 1.0}, math.inf),
        ("constant", {"eta": 0.1}, math.inf),
    ],
)
def test_its_sum_stays_bounded_or_does_not(schedule, parameters, limit):
    shallow, deep = (sum(residual_scales(schedule, depth, **parameters)) for depth in (500, 4000))
    if math.isinf(limit):
        assert deep > shallow + 2
    else:
        assert deep == pytest.approx(limit, rel=1e-3)


def test_a_list_is_taken_as_it_is():
    assert residual_scales([3, 0.5], 2) == [3.0, 0.5]
    assert residual_scales((0.5,), 1) == [0.5]


@pytest.mark.parametrize(
    "schedule, parameters, message",
    [
        ("geometric", {"base": -0.9}, r"^base = -0\.9: must be a number above 0"),
        ("geometric", {"base": math.nan}, "^base = nan: must be a number above 0"),
        ("geometric", {"base": 3.0}, r"^base = 3\.0: overflows within 2000 modules"),
        ("power", {"exponent": 0}, "^exponent = 0: must be a number above 0"),
        ("constant", {"eta": 0.0}, r"^eta = 0\.0: must be a number above 0"),
        ("harmonic", {}, "^scales = 'harmonic': must be one of constant, geometric, inverse_depth, power"),
        ([1.0] * 3, {}, r"^scales = \[1\.0, 1\.0, 1\.0\]: must be .* a list of 2000, one per module"),
        (1.0, {}, r"^scales = 1\.0: must be .* a list of 2000"),
    ],
    ids=str,
)
def test_a_schedule_that_does_not_exist_is_a_mistake(schedule, parameters, message):
    with pytest.raises(ValueError, match=message):
        residual_scales(schedule, 2000, **parameters)


def test_a_scale_that_is_not_positive_is_a_mistake():
    with pytest.raises(ValueError, match=r"^scales = 0: must be a number above 0"):
        residual_scales([1.0, 0], 2)
