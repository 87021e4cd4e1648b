"""The canonical form of a config, equal for configs that differ only in the spelling of numbers or of moved classes."""

import builtins
import inspect
import pkgutil
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from start_training.runs.moved_targets import current_name, first_name

# Keys added in later versions, each with the value that reproduces the earlier behaviour; `canonical` removes a key
# with this value. Grouped by the first name of the class that has the parameter; "" for top-level keys of a config.
ADDED: dict[str, dict[str, Any]] = {
    "": {
        "readout_initializer": {},
        "initialize": {"only": None, "skip": None, "strict": False},
        "task": {"_target_": "start_training.tasks.classification.Classification"},
        **{"monitor": "val/loss", "mode": None},
    },
    "start_training.tasks.classification.Classification": {"outputs": None, "loss": None},
    "src.callbacks.activation_lengths.ActivationLengths": {
        **{"resume": False, "log": True, "log_every_n_steps": 50, "updates": False},
        **{"layers": "auto", "sample_axis": None},
    },
    "src.callbacks.range_test.RangeTest": {"adaptive": False},
    "src.schedules.cosine.Cosine": {"warmup": 0.0},
}
# Parameters with an older name, which they have in the canonical form, grouped in the same way.
RENAMED = {"src.callbacks.activation_lengths.ActivationLengths": {"layers": "modules"}}
# Parameters that Lightning annotates as int | float although 1 and 1.0 mean the same, unlike limit_train_batches.
_FLOATS = {"gradient_clip_val"}
_LISTS = (list, tuple, Sequence, Iterable)


def canonical(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with each number converted to the annotated type of its parameter in the `_target_`.

    1 becomes 1.0 for a float parameter, and 100.0 becomes 100 for an int parameter, also within lists; booleans stay.
    If the annotation allows both int and float, or is missing, the number stays, since the types may differ in meaning
    (`limit_train_batches` = 1 is one batch, 1.0 is all batches). Each `_target_` becomes the first name of the class,
    and keys of `ADDED` with the listed value are removed.

    Args:
        config: resolved and plain.
    Example:
        >>> canonical({"_target_": "torch.optim.SGD", "lr": 1})
        {'_target_': 'torch.optim.SGD', 'lr': 1.0}
    """
    return _mapping(config, Any)


def _mapping(config: Mapping[str, Any], annotation: Any) -> dict[str, Any]:
    target = config.get("_target_")
    target = target if isinstance(target, str) else ""  # building the object reports any other value
    annotations = annotations_of(current_name(target)) if target else {}
    of_values = next((args[1] for origin, args in _members(annotation) if origin in (dict, Mapping) and args), Any)
    values = {key: _value(value, annotations.get(key, of_values)) for key, value in config.items()}
    if not target:
        return values
    values["_target_"] = first = first_name(target)
    return without_added(values, first)


def without_added(config: Mapping[str, Any], first: str) -> dict[str, Any]:
    """Return a config without the keys in `ADDED` whose value is the one listed there, with the names of `RENAMED`.

    Args:
        config: the arguments of a class, or a whole config.
        first: the first name of the class, "" for a whole config.
    """
    added, renamed = ADDED.get(first, {}), RENAMED.get(first, {})
    kept = {key: value for key, value in config.items() if key not in added or not _same(value, added[key])}
    return kept | {older: kept.pop(key) for key, older in renamed.items() if key in kept}


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
        return float(value) if abs(value) <= 2**53 else value  # a float cannot represent every larger integer
    return int(value) if isinstance(value, float) and kinds == {int} and value.is_integer() else value


def _items(annotation: Any, length: int) -> list[Any]:
    """Return the annotation of each of `length` list entries, given the annotation of the list."""
    for origin, args in _members(annotation):
        if origin in _LISTS and args:
            fixed = origin is tuple and args[-1] is not Ellipsis
            return list(args) if fixed and len(args) == length else [args[0]] * length
    return [Any] * length


def _members(annotation: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """Return (type, type arguments) of each member of a union, or of the annotation itself if it is not a union."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return [member for argument in args for member in _members(argument)]
    if origin is Annotated:
        return _members(args[0])
    return [(origin or annotation, args)]


@cache
def annotations_of(target: str) -> dict[str, Any]:
    """Return the annotations of a target's parameters by name.

    For a class, parameters of its parents' constructors are included, since it may pass arguments on to them.
    """
    try:
        named = pkgutil.resolve_name(target)
    except Exception:  # importing a user's module can raise anything; building the object reports it
        return {}
    functions = [vars(base).get("__init__") for base in reversed(named.__mro__)] if inspect.isclass(named) else [named]
    annotations: dict[str, Any] = {}
    for function in filter(None, functions):
        annotations |= _function_annotations(inspect.unwrap(function))
    return annotations | dict.fromkeys(_FLOATS & annotations.keys(), float)


def _function_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    names = getattr(function, "__globals__", {})
    return {key: _evaluated(text, names) for key, text in getattr(function, "__annotations__", {}).items()}


def _evaluated(annotation: Any, names: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, {}, _Names(names))
    except Exception:  # the text is not a valid annotation
        return Any


class _Names(dict[str, Any]):
    """The global names of a module. Unknown names, such as those imported only for type checkers, are `object`."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, object)
