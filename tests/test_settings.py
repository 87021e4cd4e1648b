"""Every check returns what it accepts, and names what it refuses."""

import math
import re

import pytest

from src.settings import (
    fraction,
    number_from_zero,
    one_of,
    positive_integer,
    positive_number,
    seed,
    whole_number,
)

NEVER_NUMBERS = [None, "1", True, False, [1], math.nan]
NUMBERS = {
    # check: (accepted, refused, what is said)
    positive_integer: ([1, 10**12], [0, -1, 1.0, math.inf], "must be a whole number of at least 1"),
    whole_number: ([0, 7], [-1, 0.0, math.inf], "must be a whole number of at least 0"),
    positive_number: ([1e-300, 1, 2.5], [0, 0.0, -1.0, math.inf, -math.inf], "must be a number above 0"),
    number_from_zero: ([0, 0.0, 1e300], [-1e-300, math.inf], "must be a number of at least 0"),
    fraction: ([0, 0.0, 0.5, 0.999], [1, 1.0, -0.1, math.inf], "must be a fraction, at least 0 and below 1"),
}
ACCEPTED = [(check, value) for check, (accepted, _, _) in NUMBERS.items() for value in accepted]
REFUSED = [
    (check, value, rule) for check, (_, refused, rule) in NUMBERS.items() for value in [*refused, *NEVER_NUMBERS]
]


@pytest.mark.parametrize("check, value", ACCEPTED)
def test_a_value_that_is_allowed_is_returned(check, value):
    assert check("width", value) == value
    assert isinstance(check("width", value), int if check in (positive_integer, whole_number) else float)


@pytest.mark.parametrize("check, value, rule", REFUSED)
def test_a_value_that_is_not_is_named(check, value, rule):
    with pytest.raises(ValueError, match=f"^{re.escape(f'width = {value!r}: {rule}')}$"):
        check("width", value)


def test_a_whole_number_may_have_another_floor():
    assert whole_number("epochs", -1, at_least=-1) == -1
    with pytest.raises(ValueError, match=r"^epochs = -2: must be a whole number of at least -1$"):
        whole_number("epochs", -2, at_least=-1)


def test_zero_is_a_seed():
    assert seed("seed", 0) == 0
    assert seed("seed", 2**63 - 1) == 2**63 - 1
    with pytest.raises(ValueError, match=r"^seed = 9223372036854775808: must be below 2\^63$"):
        seed("seed", 2**63)
    with pytest.raises(ValueError, match=r"^seed = -1: must be a whole number of at least 0$"):
        seed("seed", -1)


@pytest.mark.parametrize("value", ["tanhh", "", None, 3, ["relu"]])
def test_a_name_is_one_of_those_allowed(value):
    assert one_of("activation", "relu", {"tanh", "relu"}) == "relu"
    with pytest.raises(ValueError, match=f"^{re.escape(f'activation = {value!r}: must be one of relu, tanh')}$"):
        one_of("activation", value, {"tanh", "relu"})


def test_part_of_an_allowed_name_is_not_allowed():
    with pytest.raises(ValueError, match="must be one of"):
        one_of("activation", "rel", ["relu", "tanh"])
