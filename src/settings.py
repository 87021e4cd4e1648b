"""Checks of settings, as functions and as constraints in annotations.

Each check takes the name and the value of a setting. It returns the value, or raises a ValueError that begins with
``name = value:`` and says what is allowed. `src/config/mistakes.py` adds the config group to the name.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache, wraps
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from start_training.annotations import check_type

C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")


def positive_integer(name: str, value: object) -> int:
    """Check that a value is a whole number of at least 1."""
    return whole_number(name, value, at_least=1)


def whole_number(name: str, value: object, *, at_least: int = 0) -> int:
    """Check that a value is a whole number of at least `at_least`; booleans and floats such as 3.0 are refused."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name} = {value!r}: must be a whole number of at least {at_least}")
    return value


def seed(name: str, value: object) -> int:
    """Check that a value is a whole number in [0, 2^63)."""
    number = whole_number(name, value)
    if number >= 2**63:
        raise ValueError(f"{name} = {value!r}: must be below 2^63")
    return number


def positive_number(name: str, value: object) -> float:
    """Check that a value is a finite number above 0, and return it as a float."""
    if not 0 < _number(value) < math.inf:
        raise ValueError(f"{name} = {value!r}: must be a number above 0")
    return _number(value)


def number_from_zero(name: str, value: object) -> float:
    """Check that a value is a finite number of at least 0, and return it as a float."""
    if not 0 <= _number(value) < math.inf:
        raise ValueError(f"{name} = {value!r}: must be a number of at least 0")
    return _number(value)


def fraction(name: str, value: object) -> float:
    """Check that a value is a number in [0, 1), and return it as a float."""
    if not 0 <= _number(value) < 1:
        raise ValueError(f"{name} = {value!r}: must be a fraction, at least 0 and below 1")
    return _number(value)


def one_of(name: str, value: object, allowed: Collection[str]) -> str:
    """Check that a value is one of the names in `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} = {value!r}: must be one of {', '.join(sorted(allowed))}")
    return value


def list_of(name: str, value: object) -> list[Any]:
    """Check that a value is a list or tuple with at least one entry, and return it as a list."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(f"{name} = {value!r}: must be a list with at least one entry")
    return list(value)


def one_line(error: BaseException) -> str:
    """An error's message without its line breaks, and without the C++ stack that torch appends."""
    return " ".join(str(error).partition("Exception raised from")[0].split())


def described(error: BaseException) -> str:
    """An error's class and message on one line.

    Example:
        >>> described(KeyError("depth"))
        "KeyError: 'depth'"
    """
    return f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")


def named_in(message: str) -> str | None:
    """Return the setting at the beginning of an error message ``setting = value: …``, or None if there is none."""
    named = re.match(r"([\w.@/-]+) = ", message)
    return named[1] if named else None


# Constraints as annotations, which `checked` enforces: `def f(*, steps: PositiveInteger, rate: Fraction)`.
PositiveInteger = Annotated[int, positive_integer]
WholeNumber = Annotated[int, whole_number]
Seed = Annotated[int, seed]
PositiveNumber = Annotated[float, positive_number]
NumberFromZero = Annotated[float, number_from_zero]
Fraction = Annotated[float, fraction]


@dataclass(frozen=True)
class AtLeast:
    """A constraint for annotations: `Annotated[int, AtLeast(2)]` is a whole number of at least 2."""

    least: int

    def __call__(self, name: str, value: object) -> int:
        return whole_number(name, value, at_least=self.least)


@dataclass(frozen=True)
class OneOf:
    """A constraint for annotations: `Annotated[str, OneOf(NAMES)]` is one of the strings in NAMES."""

    allowed: Collection[str]

    def __call__(self, name: str, value: object) -> str:
        return one_of(name, value, self.allowed)


def checked(target: C) -> C:
    """Decorate a function or dataclass so that its arguments are checked against the constraints in their annotations.

    An optional parameter is not checked if its value is None. For a list, `Sequence[PositiveInteger]`, each entry is
    checked and an empty list is refused. Default values are not checked.

    Args:
        target: A function or method such as `__init__`, or a dataclass, with parameters annotated by `Annotated[type,
            constraint]`. A constraint is a function of a setting's name and value that returns the value or raises.

    Returns:
        The target, which raises a ValueError ``name = value: …`` for an argument that is not allowed.

    Example:
        >>> @checked
        ... def draw(*, nets: PositiveInteger, seed: Seed | None = None) -> int:
        ...     return nets
        >>> draw(nets=0)
        Traceback (most recent call last):
            ...
        ValueError: nets = 0: must be a whole number of at least 1
    """
    if inspect.isclass(target):
        cast(Any, target).__init__ = checked(target.__init__)  # mypy does not allow to replace a method
        return target
    signature = inspect.signature(target)

    @wraps(target)
    def call(*arguments: Any, **named: Any) -> Any:
        bound = signature.bind(*arguments, **named)
        for name, annotation in constraints(target).items():
            if name in bound.arguments:
                bound.arguments[name] = check(name, bound.arguments[name], annotation)
        return target(*bound.args, **bound.kwargs)

    return cast(C, call)


@cache
def constraints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters of a function whose annotations contain a constraint, with these annotations."""
    hints = get_type_hints(inspect.unwrap(function), include_extras=True)
    return {name: hint for name, hint in hints.items() if name != "return" and _constrained(hint)}


def check(name: str, value: Any, annotation: Any) -> Any:
    """Check a value against the constraints in an annotation.

    Args:
        name: Name of the setting.
        value: Value of the setting.
        annotation: A type with a constraint, or a list or union of such types.

    Returns:
        The value, as the constraint returns it.

    Raises:
        ValueError: the value is not allowed; the message begins with ``name = value:``.
    """
    if get_origin(annotation) is Annotated:
        for constraint in get_args(annotation)[1:]:
            value = constraint(name, value)
        return value
    if get_origin(annotation) in (Union, UnionType):
        [constrained] = [member for member in get_args(annotation) if _constrained(member)]
        return value if value is None else check(name, value, constrained)
    [entry] = [member for member in get_args(annotation) if _constrained(member)]
    return [check(name, item, entry) for item in list_of(name, value)]


def settings_from(kind: type[T], config: Mapping[str, Any], group: str = "") -> T:
    """Build a dataclass from the keys of a config that are names of its fields.

    A field that is a dataclass itself is built from the mapping under its key; other keys are ignored.

    Args:
        kind: The dataclass, decorated with `checked`.
        config: The config as plain data.
        group: Config group that error messages put before each key, as in ``group.key = value: …``.

    Raises:
        ValueError: a value is not allowed, a field without a default is missing, or a nested config is no mapping.

    Example:
        >>> @checked
        ... @dataclass(frozen=True)
        ... class Budget:
        ...     epochs: PositiveInteger
        >>> settings_from(Budget, {"epochs": 3, "seed": 0})
        Budget(epochs=3)
    """
    prefix, hints = f"{group}." if group else "", get_type_hints(kind, include_extras=True)
    if not isinstance(config, Mapping):
        raise ValueError(f"{group} = {config!r}: must have {', '.join(hints)}")
    values = {name: config[name] for name in hints if name in config}
    for name, value in values.items():
        members = (hints[name], *get_args(hints[name]))
        nested = next((part for part in members if isinstance(part, type) and is_dataclass(part)), None)
        if nested is None and not _constrained(hints[name]):
            check_type(prefix + name, value, hints[name])
        elif nested is not None and not (value is None and type(None) in members):
            values[name] = settings_from(cast(type[Any], nested), value, prefix + name)
    try:
        return kind(**values)
    except TypeError as error:
        missing = next(name for name in hints if name not in config)
        raise ValueError(f"{prefix}{missing}: must be set") from error
    except ValueError as error:
        raise ValueError(prefix + str(error)) from error


def _constrained(annotation: Any) -> bool:
    """Return whether an annotation, or a type in its union or list, contains a constraint."""
    if get_origin(annotation) is Annotated:
        return any(callable(extra) for extra in get_args(annotation)[1:])
    return any(_constrained(member) for member in get_args(annotation))


def _number(value: object) -> float:
    """Convert a number to float, and any other value to NaN, which fails every comparison."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        return math.nan
    return float(value)
