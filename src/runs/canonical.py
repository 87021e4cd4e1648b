"""One form for all configs that mean the same: how numbers are written, and what a class is called, do not count."""

import builtins
import inspect
import pkgutil
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from start_training.runs.moved_targets import current_name, first_name

# Keys that configs have had only since a later version, with the value that means what was done before: at that value
# they are left out. By the first name of the class whose parameter it is; "" for keys at the top of a config.
ADDED: dict[str, dict[str, Any]] = {}
# Lightning annotates it as int | float, as it does limits of batches, of which 1 is one and 1.0 is all; here it is one.
_FLOATS = {"gradient_clip_val"}
_LISTS = (list, tuple, Sequence, Iterable)


def canonical(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with numbers of the type that the parameters of each `_target_` are annotated with.

    A float parameter's 1 is 1.0, an int parameter's 100.0 is 100, in lists as well; True is no number. Where the
    annotation admits both int and float, or there is none, the number stays as it is, since the types may differ in
    meaning (`limit_train_batches` = 1 is one batch, 1.0 all of them). Names are each class's first; keys of `ADDED`
    are left out at the value that means "as before".
    """
    return _mapping(config, Any)


def _mapping(config: Mapping[str, Any], annotation: Any) -> dict[str, Any]:
    target = config.get("_target_", "")
    annotations = _annotations(current_name(target)) if isinstance(target, str) else {}
    of_values = next((args[1] for origin, args in _members(annotation) if origin in (dict, Mapping) and args), Any)
    values = {key: _value(value, annotations.get(key, of_values)) for key, value in config.items()}
    if not target:
        return values
    values["_target_"] = first = first_name(target)
    return without_added(values, first)


def without_added(config: Mapping[str, Any], first: str) -> dict[str, Any]:
    """The config of a class, or "" for a whole one, less the keys that say no more than that all is as before."""
    added = ADDED.get(first, {})
    return {key: value for key, value in config.items() if key not in added or not _same(value, added[key])}


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _value(value: Any, annotation: Any) -> Any:
    if isinstance(value, Mapping):
        return _mapping(value, annotation)
    if isinstance(value, list | tuple):
        return [_value(item, of) for item, of in zip(value, _items(annotation, len(value)), strict=True)]
    kinds = {origin for origin, _ in _members(annotation)} & {int, float}
    if isinstance(value, bool) or len(kinds) != 1:
        return value
    if isinstance(value, int) and kinds == {float}:
        return float(value) if abs(value) <= 2**53 else value  # beyond, several integers are one float
    return int(value) if isinstance(value, float) and kinds == {int} and value.is_integer() else value


def _items(annotation: Any, length: int) -> list[Any]:
    """The annotation of each entry of a list."""
    for origin, args in _members(annotation):
        if origin in _LISTS and args:
            fixed = origin is tuple and args[-1] is not Ellipsis
            return list(args) if fixed and len(args) == length else [args[0]] * length
    return [Any] * length


def _members(annotation: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """(type, its arguments) of each member of a union; of anything else of the one that it is."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return [member for argument in args for member in _members(argument)]
    if origin is Annotated:
        return _members(args[0])
    return [(origin or annotation, args)]


@cache
def _annotations(target: str) -> dict[str, Any]:
    """Of a target's parameters; of a class also of its parents', to which it may hand them on."""
    try:
        named = pkgutil.resolve_name(target)
    except Exception:  # whatever importing a user's module raises: building from the name says it
        return {}
    made_by = [vars(base).get("__init__") for base in reversed(named.__mro__)] if inspect.isclass(named) else [named]
    annotations: dict[str, Any] = {}
    for function in filter(None, made_by):
        annotations |= _of_function(inspect.unwrap(function))
    return annotations | dict.fromkeys(_FLOATS & annotations.keys(), float)


def _of_function(function: Callable[..., Any]) -> dict[str, Any]:
    names = getattr(function, "__globals__", {})
    return {key: _evaluated(text, names) for key, text in getattr(function, "__annotations__", {}).items()}


def _evaluated(annotation: Any, names: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, {}, _Names(names))
    except Exception:  # nothing that Python can read as an annotation
        return Any


class _Names(dict[str, Any]):
    """A module's names; a name that only a type checker imports is that of some class."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, object)
