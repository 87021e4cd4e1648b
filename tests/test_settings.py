"""Every check returns what it accepts, and names what it refuses."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.settings import (
    fraction,
    list_of,
    named_in,
    number_from_zero,
    one_of,
    positive_integer,
    positive_number,
    seed,
    whole_number,
)

NUMBERS = {
    # check: (whether it accepts a number of its kind, its rule)
    positive_integer: (lambda value: value >= 1, "must be a whole number of at least 1"),
    whole_number: (lambda value: value >= 0, "must be a whole number of at least 0"),
    positive_number: (lambda value: 0 < value < math.inf, "must be a number above 0"),
    number_from_zero: (lambda value: 0 <= value < math.inf, "must be a number of at least 0"),
    fraction: (lambda value: 0 <= value < 1, "must be a fraction, at least 0 and below 1"),
}
EDGES = [-1, 0, 1, 2, -1e-300, -0.0, 0.0, 1e-300, 1.0, math.nextafter(1, 0), math.inf, -math.inf, math.nan, 10**12]


@pytest.mark.parametrize("check", NUMBERS)
@given(value=st.sampled_from([*EDGES, None, "1", True, False, [1]]) | st.integers() | st.floats())
def test_a_value_that_is_allowed_is_returned_and_one_that_is_not_is_named(check, value):
    accepts, rule = NUMBERS[check]
    whole = check in (positive_integer, whole_number)
    if type(value) in ((int,) if whole else (int, float)) and accepts(value):
        assert check("width", value) == value and type(check("width", value)) is (int if whole else float)
    else:
        with pytest.raises(ValueError, match=f"^{re.escape(f'width = {value!r}: {rule}')}$"):
            check("width", value)


def test_a_whole_number_may_have_another_floor():
    assert whole_number("epochs", -1, at_least=-1) == -1
    with pytest.raises(ValueError, match=r"^epochs = -2: must be a whole number of at least -1$"):
        whole_number("epochs", -2, at_least=-1)


def test_zero_is_a_seed_and_the_largest_has_63_bits():
    assert (seed("seed", 0), seed("seed", 2**63 - 1)) == (0, 2**63 - 1)
    with pytest.raises(ValueError, match=r"^seed = 9223372036854775808: must be below 2\^63$"):
        seed("seed", 2**63)
    with pytest.raises(ValueError, match=r"^seed = -1: must be a whole number of at least 0$"):
        seed("seed", -1)


@pytest.mark.parametrize("value", ["rel", "", None, 3, ["relu"]])
def test_a_name_is_one_of_those_allowed_and_a_list_not_empty(value):
    assert one_of("activation", "relu", {"tanh", "relu"}) == "relu"
    with pytest.raises(ValueError, match=f"^{re.escape(f'activation = {value!r}: must be one of relu, tanh')}$"):
        one_of("activation", value, {"tanh", "relu"})
    if isinstance(value, list):
        assert list_of("names", tuple(value)) == value
    else:
        with pytest.raises(ValueError, match=f"^{re.escape(f'names = {value!r}: must be a list of at least one')}$"):
            list_of("names", value)


def test_a_message_names_the_setting_it_begins_with():
    assert [named_in(text) for text in ("a.b-c = 3: bad", "a = b = c", "no a = 3", " a = 3")] == [
        "a.b-c",
        "a",
        None,
        None,
    ]
