"""What the reference of the configuration says in words: types from annotations, meanings from docstrings."""

import dataclasses
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

CONSTRAINTS = {
    "positive_integer": "integer, at least 1",
    "whole_number": "integer, at least 0",
    "seed": "integer, at least 0",
    "positive_number": "number above 0",
    "number_from_zero": "number, at least 0",
    "fraction": "number, from 0 to below 1",
}
PLAIN: dict[Any, str] = {
    int: "integer", float: "number", bool: "true or false", str: "text", NoneType: "null", Path: "path",
    list: "list", dict: "mapping", tuple: "list", Callable: "function",
}  # fmt: skip


def import_target(name: str) -> Any:
    """A target; None: a package that is not installed, an interpolation, or left to the user (???)."""
    first = re.search(r"(?<![\w.])start_training[\w.]+", name)
    try:
        return pkgutil.resolve_name(first[0] if first else name)
    except (ImportError, AttributeError, ValueError):
        return None


def hints_of(target: Any) -> dict[str, Any]:
    """The annotations of a dataclass, or of the arguments of a class or function."""
    if target is None:
        return {}
    if dataclasses.is_dataclass(target):
        return get_type_hints(target, include_extras=True)
    hints: dict[str, Any] = {}
    for kind in reversed(target.__mro__) if inspect.isclass(target) else [target]:
        function = vars(kind).get("__init__") if inspect.isclass(kind) else kind
        if inspect.isfunction(function):
            try:
                hints |= get_type_hints(inspect.unwrap(function), include_extras=True)
            except NameError:  # an annotation that only a type checker can resolve
                continue
    if getattr(target, "__name__", "") == "OptunaSweeper":  # its **settings are those of a dataclass
        hints |= hints_of(import_target("start_training.launchers.optuna_sweep.SearchSettings"))
    return hints


def documented(target: Any, name: str) -> str:
    """What the docstrings of a target, and of the classes that it extends, say of an argument."""
    for kind in target.__mro__ if inspect.isclass(target) else [target]:
        for text in (kind.__doc__, getattr(getattr(kind, "__init__", None), "__doc__", None)):
            found = re.search(rf"^( *){name}(?: \(.*\))?:(.*(?:\n\1 +\S.*)*)", text or "", re.MULTILINE)
            if not found:
                continue
            said = " ".join(found[2].split())
            if other := re.fullmatch(r"See `(\w+)`\.?", said):
                said = documented(getattr(sys.modules[kind.__module__], other[1], None), name)
            elif not kind.__module__.startswith("start_training"):
                said = re.sub(r"\s*(Default:|\(default:).*", "", said)  # torch's, which this config may replace
            if said:
                return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", said).replace("``", "`")
    return ""


def type_in_words(annotation: Any, default: Any) -> str:
    """An annotation in words; without one, the kind of value that the default is."""
    words = _words(annotation)
    if not words and default is not None:
        words = [PLAIN.get(type(default), "")]
    if isinstance(default, str) and default.startswith("${") and words == ["text"] and annotation is Any:
        words = ["that of the value it refers to"]
    if default is None and "null" not in words:
        words = [*words, "null"]
    return " or ".join(dict.fromkeys(word for word in words if word)) or "any"


def _words(annotation: Any) -> list[str]:
    """The words for an annotation; none for what a config cannot hold, such as a tensor."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return [_constraint(arguments[0], arguments[1])]
    if origin in (Union, UnionType):
        return [word for argument in arguments for word in _words(argument)]
    if origin is Literal:
        return [", ".join(f"`{value}`" for value in arguments)]
    name = getattr(origin, "__name__", "")
    if name in ("Sequence", "list", "tuple", "Iterable"):
        entry = " or ".join(dict.fromkeys(word for part in arguments for word in _words(part)))
        return [f"list, each {entry}" if entry else "list"]
    if name in ("Mapping", "dict"):
        return ["mapping"]
    return [PLAIN[annotation]] if annotation in PLAIN else []


def _constraint(base: Any, constraint: Any) -> str:
    """The words for a constraint of start_training.settings, or of a module of its own."""
    if hasattr(constraint, "allowed"):
        return ", ".join(f"`{value}`" for value in constraint.allowed)
    if hasattr(constraint, "least"):
        return f"integer, at least {constraint.least}"
    name = getattr(constraint, "__name__", "")
    return CONSTRAINTS.get(name) or " or ".join(_words(base)) or name.replace("_", " ")


def plain(text: str) -> str:
    """Text whose characters Markdown shows as they are, except for code between backticks."""
    parts = text.strip().split("`")
    return "`".join(
        re.sub(r"([_*|<\[])", r"\\\1", part) if number % 2 == 0 else part for number, part in enumerate(parts)
    )


def inner_hints(annotation: Any) -> dict[str, Any]:
    """The annotations of the keys of a mapping: of a dataclass, which a union may hold or a constraint may return."""
    if dataclasses.is_dataclass(annotation):
        return hints_of(annotation)
    if get_origin(annotation) is Annotated:
        return inner_hints(get_type_hints(get_args(annotation)[1]).get("return"))
    return next((found for part in get_args(annotation) if (found := inner_hints(part))), {})
