"""Values of beta, and errors for impossible widths."""

import math

import pytest

from start_training.theory.beta import beta, checked_widths


@pytest.mark.parametrize(
    "widths, expected", [([2, 4, 5], 0.95), ([60] * 60, 1), ([30, 10] * 10, 4 / 3), (4, 0.25), ([], 0)]
)  # fmt: skip
def test_beta_is_the_sum_of_reciprocal_widths(widths, expected):
    assert beta(widths) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("widths", [[10, 0], [-1], [math.nan]], ids=str)
def test_a_width_that_is_not_positive_is_an_error(widths):
    with pytest.raises(ValueError, match=r"^widths = \[.*\]: all widths must be positive"):
        beta(widths)
    assert checked_widths([3, 5]).dtype == "float64"
