"""What every constructor says of a setting it cannot work with: its name, its value, what is allowed.

Each function returns the value it has checked, or raises a ValueError that begins with
``name = value:``; `src/config/mistakes.py` puts the config group before it.
"""

import math
import re
from collections.abc import Collection, Sequence
from typing import Any


def positive_integer(name: str, value: object) -> int:
    """A whole number of at least 1."""
    return whole_number(name, value, at_least=1)


def whole_number(name: str, value: object, *, at_least: int = 0) -> int:
    """A whole number of at least `at_least`; True and 3.0 are not whole numbers here."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name} = {value!r}: must be a whole number of at least {at_least}")
    return value


def seed(name: str, value: object) -> int:
    """A whole number in [0, 2^63)."""
    checked = whole_number(name, value)
    if checked >= 2**63:
        raise ValueError(f"{name} = {value!r}: must be below 2^63")
    return checked


def positive_number(name: str, value: object) -> float:
    """A finite number above 0."""
    if not 0 < _number(value) < math.inf:
        raise ValueError(f"{name} = {value!r}: must be a number above 0")
    return _number(value)


def number_from_zero(name: str, value: object) -> float:
    """A finite number of at least 0."""
    if not 0 <= _number(value) < math.inf:
        raise ValueError(f"{name} = {value!r}: must be a number of at least 0")
    return _number(value)


def fraction(name: str, value: object) -> float:
    """A number in [0, 1)."""
    if not 0 <= _number(value) < 1:
        raise ValueError(f"{name} = {value!r}: must be a fraction, at least 0 and below 1")
    return _number(value)


def one_of(name: str, value: object, allowed: Collection[str]) -> str:
    """One of the names in `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} = {value!r}: must be one of {', '.join(sorted(allowed))}")
    return value


def list_of(name: str, value: object) -> list[Any]:
    """A list that is not empty."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(f"{name} = {value!r}: must be a list of at least one")
    return list(value)


def named_in(message: str) -> str | None:
    """The setting that a message begins with, `key` or `group.key`; None where it begins otherwise."""
    named = re.match(r"([\w.-]+) = ", message)
    return named[1] if named else None


def _number(value: object) -> float:
    """NaN, which no comparison admits, for what is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)
