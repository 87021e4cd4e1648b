"""Every check returns what it accepts, and names what it refuses."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.settings import (
    AtLeast,
    Fraction,
    OneOf,
    PositiveInteger,
    Seed,
    checked,
    fraction,
    list_of,
    named_in,
    number_from_zero,
    one_of,
    positive_integer,
    positive_number,
    seed,
    settings_from,
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


@checked
@dataclass(frozen=True)
class Bins:
    bins: Annotated[int, AtLeast(2)]
    unit: Annotated[str, OneOf(("step", "epoch"))] = "step"


@checked
@dataclass(frozen=True)
class Scan:
    widths: Sequence[PositiveInteger]
    bins: Bins | None
    share: Fraction | None = 0.5
    seed: Seed = 0


GOOD = {"widths": [1, 2], "bins": {"bins": 2}, "share": None, "other": "left alone"}


def test_a_dataclass_is_built_from_a_config_level_by_level():
    assert settings_from(Scan, GOOD) == Scan([1, 2], Bins(2), None, 0)
    assert settings_from(Scan, GOOD | {"bins": None}).bins is None


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"widths": [1, 0]}, "scan.widths = 0: must be a whole number of at least 1"),
        ({"widths": []}, "scan.widths = []: must be a list of at least one"),
        ({"widths": 3}, "scan.widths = 3: must be a list of at least one"),
        ({"bins": {"bins": 1}}, "scan.bins.bins = 1: must be a whole number of at least 2"),
        ({"bins": {"bins": 2, "unit": "day"}}, "scan.bins.unit = 'day': must be one of epoch, step"),
        ({"bins": {}}, "scan.bins.bins: must be given"),
        ({"share": 1}, "scan.share = 1: must be a fraction, at least 0 and below 1"),
        ({"seed": None}, "scan.seed = None: must be a whole number of at least 0"),
    ],
)
def test_a_value_that_a_field_does_not_allow_is_named_in_full(wrong, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        settings_from(Scan, GOOD | wrong, "scan")


def test_a_function_and_a_dataclass_are_checked_however_they_are_called():
    @checked
    def half(width: PositiveInteger, *rest: int, share: Fraction = 2.0) -> float:
        return width * share

    assert half(3) == 6.0  # a default is not checked
    for call in (lambda: half(0), lambda: half(width=0), lambda: Scan([0], None), lambda: Scan(widths=[0], bins=None)):
        with pytest.raises(ValueError, match=r"^widths? = 0: "):
            call()
    with pytest.raises(TypeError, match="unexpected"):
        half(3, depth=1)
