"""What every constructor says of a setting it cannot work with: its name, its value, what is allowed.

Each function returns the value it has checked, or raises a ValueError that begins with
``name = value:``; `src/config/mistakes.py` puts the config group before it.
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

C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")


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


def one_line(error: BaseException) -> str:
    """An error's message without its line breaks."""
    return " ".join(str(error).split())


def described(error: BaseException) -> str:
    """An error's class and message on one line.

    Example:
        >>> described(KeyError("depth"))
        "KeyError: 'depth'"
        >>> described(RuntimeError())
        'RuntimeError'
    """
    return f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")


def named_in(message: str) -> str | None:
    """The setting that a message begins with, `key` or `group.key`; None where it begins otherwise."""
    named = re.match(r"([\w.-]+) = ", message)
    return named[1] if named else None


# Constraints as annotations, which `checked` holds arguments to: `def f(*, steps: PositiveInteger, rate: Fraction)`.
PositiveInteger = Annotated[int, positive_integer]
WholeNumber = Annotated[int, whole_number]
Seed = Annotated[int, seed]
PositiveNumber = Annotated[float, positive_number]
NumberFromZero = Annotated[float, number_from_zero]
Fraction = Annotated[float, fraction]


@dataclass(frozen=True)
class AtLeast:
    """The constraint of `Annotated[int, AtLeast(2)]`: a whole number of at least that."""

    least: int

    def __call__(self, name: str, value: object) -> int:
        return whole_number(name, value, at_least=self.least)


@dataclass(frozen=True)
class OneOf:
    """The constraint of `Annotated[str, OneOf(NAMES)]`: one of those names."""

    allowed: Collection[str]

    def __call__(self, name: str, value: object) -> str:
        return one_of(name, value, self.allowed)


def checked(target: C) -> C:
    """Hold the arguments of a function, or of a dataclass's constructor, to the constraints in their annotations.

    A parameter that may be None is not checked where it is. Of a list, `Sequence[PositiveInteger]`, each entry is
    checked, and an empty one is refused. Defaults are not checked.

    Args:
        target: A function (a class's `__init__` too) or a dataclass, whose parameters or fields are annotated, some
            with `Annotated[type, constraint]`; a constraint takes a setting's name and value, returns or raises.

    Returns:
        The same, which raises a ValueError ``name = value: …`` of the first argument that is not allowed.

    Example:
        >>> @checked
        ... def draw(*, nets: PositiveInteger, seed: Seed | None = None) -> int:
        ...     return nets
        >>> draw(nets=3)
        3
        >>> draw(nets=0)
        Traceback (most recent call last):
            ...
        ValueError: nets = 0: must be a whole number of at least 1
    """
    if inspect.isclass(target):
        target.__init__ = checked(target.__init__)  # type: ignore[method-assign]
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
    """The annotations of a function's parameters that hold a constraint."""
    hints = get_type_hints(inspect.unwrap(function), include_extras=True)
    return {name: hint for name, hint in hints.items() if name != "return" and _constrained(hint)}


def check(name: str, value: Any, annotation: Any) -> Any:
    """The value, held to the constraints in an annotation. Raises ValueError ``name = value: …``."""
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
    """A checked dataclass from the keys of a config that have the names of its fields.

    A field that is a dataclass itself is built from the mapping under its key. Keys that are no field are left alone.

    Args:
        kind: The dataclass, decorated with `checked`.
        config: Plain data.
        group: What messages put before each key, as in ``group.key = value: …``.

    Raises:
        ValueError: a value is not allowed, a field without a default is missing, or a field that is a dataclass is
            given as something else than a mapping.

    Example:
        >>> @checked
        ... @dataclass(frozen=True)
        ... class Budget:
        ...     epochs: PositiveInteger
        >>> settings_from(Budget, {"epochs": 3, "seed": 0})
        Budget(epochs=3)
        >>> settings_from(Budget, {"epochs": 0}, "budget")
        Traceback (most recent call last):
            ...
        ValueError: budget.epochs = 0: must be a whole number of at least 1
    """
    prefix, hints = f"{group}." if group else "", get_type_hints(kind)
    if not isinstance(config, Mapping):
        raise ValueError(f"{group} = {config!r}: must have {', '.join(hints)}")
    values = {name: config[name] for name in hints if name in config}
    for name, value in values.items():
        nested = next((member for member in (hints[name], *get_args(hints[name])) if is_dataclass(member)), None)
        if nested is not None and value is not None:
            values[name] = settings_from(cast(type[Any], nested), value, prefix + name)
    try:
        return kind(**values)
    except TypeError as error:
        missing = next(name for name in hints if name not in config)
        raise ValueError(f"{prefix}{missing}: must be given") from error
    except ValueError as error:
        raise ValueError(prefix + str(error)) from error


def _constrained(annotation: Any) -> bool:
    """Whether an annotation, or what it is a union or list of, holds a constraint."""
    if get_origin(annotation) is Annotated:
        return any(callable(extra) for extra in get_args(annotation)[1:])
    return any(_constrained(member) for member in get_args(annotation))


def _number(value: object) -> float:
    """NaN, which no comparison admits, for what is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        return math.nan
    return float(value)
