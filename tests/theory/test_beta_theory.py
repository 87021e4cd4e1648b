"""beta, and the widths that it accepts."""

import math

import pytest

from src.theory.beta import beta, checked_widths


def test_beta_is_the_sum_of_reciprocal_widths():
    assert beta([2, 4, 5]) == pytest.approx(0.95, rel=1e-15)
    assert beta([60] * 60) == pytest.approx(1)
    assert beta([2, 4, 5]) != pytest.approx(3 / (11 / 3))  # depth over the mean width


@pytest.mark.parametrize("widths", [[30, 10] * 10, [30] * 10 + [10] * 10, [10] * 10 + [30] * 10, [15] * 20], ids=str)
def test_the_papers_families_share_one_beta(widths):
    assert beta(widths) == pytest.approx(4 / 3)


def test_one_width_is_one_layer_and_none_is_no_layer():
    assert beta(4) == 0.25
    assert beta([]) == 0
    assert checked_widths([3, 5]).dtype == "float64"


@pytest.mark.parametrize("widths", [[10, 0], [-1], [math.nan]], ids=str)
def test_a_width_that_is_not_positive_is_a_mistake(widths):
    with pytest.raises(ValueError, match=r"^widths = \[.*\]: a width must be positive"):
        beta(widths)
