"""Whether a plain value, such as one of a config, has the type that a parameter is annotated with."""

import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    dict: "a mapping of settings",
    list: "a list",
    type(None): "null",
}
_LISTS = (list, tuple, set, Sequence, Iterable, Collection)
_MAPPINGS = (dict, Mapping)


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Raise ValueError if the value of a setting does not have the annotated type."""
    if not matches(value, annotation):
        raise ValueError(f"{name} = {value!r}: must be {allowed(annotation)}")


def matches(value: Any, annotation: Any) -> bool:
    """Return whether a plain value (None, a boolean, number, string, list or mapping) has an annotated type.

    An integer is a valid float, a list a valid tuple, and a string a valid path. A mapping is valid for a class, and
    one with `_target_` for any type: the value is built from it. Any value is valid for an annotation that names no
    types, such as Any, a protocol or a type variable, and for one with a constraint, which checks the value itself.

    Example:
        >>> matches(True, int), matches(1, float), matches([0.9], tuple[float, float]), matches("a", Literal["a"])
        (False, True, False, True)
    """
    if isinstance(value, Mapping) and "_target_" in value:
        return True  # a node from which Hydra builds the value
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(matches(value, member) for member in args)
    if origin is Literal:
        return any(type(value) is type(allowed) and value == allowed for allowed in args)
    if annotation is None or origin is type(None):
        return value is None
    if origin in (bool, str):
        return isinstance(value, origin)
    if origin is Path:
        return isinstance(value, str)
    if origin in (int, float):
        return isinstance(value, int | origin) and not isinstance(value, bool)
    if origin in _LISTS:
        return isinstance(value, list | tuple) and _match_entries(value, origin, args)
    if origin in _MAPPINGS:
        return isinstance(value, Mapping)
    return _is_open(origin) or isinstance(value, Mapping)


def allowed(annotation: Any) -> str:
    """Return in words which values an annotation allows.

    Example:
        >>> allowed(int | float | None)
        'a whole number, a number or null'
        >>> allowed(tuple[float, float])
        'a list of 2: a number, a number'
    """
    texts = dict.fromkeys(_alternatives(annotation))
    *first, last = [text for text in texts if text] or ["a mapping with _target_"]
    return f"{', '.join(first)} or {last}" if first else last


def _match_entries(value: Sequence[Any], origin: Any, args: tuple[Any, ...]) -> bool:
    if origin is tuple and args and args[-1] is not Ellipsis:
        return len(value) == len(args) and all(matches(*pair) for pair in zip(value, args, strict=True))
    return not args or all(matches(item, args[0]) for item in value)


def _is_open(origin: Any) -> bool:
    """Return whether an annotation allows values of types that it does not name."""
    if origin in (Annotated, Any) or not isinstance(origin, type):
        return True
    return issubclass(origin, Enum) or origin is object or getattr(origin, "_is_protocol", False)


def _alternatives(annotation: Any) -> list[str]:
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, types.UnionType):
        return [text for member in args for text in _alternatives(member)]
    if origin is Literal:
        return [str(value) for value in args]
    if origin is Annotated:
        return _alternatives(args[0])
    if origin is tuple and args and args[-1] is not Ellipsis:
        return [f"a list of {len(args)}: {', '.join(allowed(entry) for entry in args)}"]
    if origin in _LISTS:
        return [f"a list, each entry {allowed(args[0])}" if args else _NAMES[list]]
    if origin in _MAPPINGS:
        return [_NAMES[dict]]
    return [_NAMES.get(type(None) if origin is None else origin, "")]  # "": another class
