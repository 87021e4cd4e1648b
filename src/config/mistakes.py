"""Turn errors raised while using a config into ValueErrors that name the setting: `group.key = value: …`."""

import inspect
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from hydra.errors import InstantiationException
from hydra.utils import get_object
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from start_training.annotations import check_type
from start_training.config.optimizer_errors import implied_types, raised_in_step
from start_training.runs.canonical import annotations_of
from start_training.runs.outcome import Diverged
from start_training.settings import described, named_in, one_line

Config = Mapping[str, Any]
_TARGET = "package.module.name of a class or function"
# Types of the keys by which Hydra is told how to build an object.
_OF_HYDRA = {
    "_partial_": bool,
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
    "_args_": list,
}
logging.getLogger("hydra.utils").addHandler(logging.NullHandler())  # else it also prints the errors that it raises


@contextmanager
def name_group_in_errors(group: str, config: Config | None) -> Iterator[None]:
    """Turn errors raised in the context into ValueErrors that name the config group, and the key if it can be told.

    `Diverged`, which ends a run, is passed on.

    Args:
        group: name of the config group, such as "optimizer".
        config: the node of the group; a key is named if the error text contains the key and its value.
    """
    try:
        yield
    except Diverged:  # the end of a run, not an error
        raise
    except Exception as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        raise ValueError(_message(group, config or {}, cause)) from error


@contextmanager
def name_setting_in_errors(config: Config) -> Iterator[None]:
    """Prefix the key in ValueErrors raised in the context with its config group, if only one group has that key.

    Lightning's MisconfigurationException becomes a ValueError that names the group trainer, and an error in a step of
    the config's optimizer one that names the group optimizer.

    Args:
        config: the config of the job.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise ValueError(_message("trainer", config["trainer"], error)) from error
    except ValueError as error:
        name = named_in(str(error))
        places = [place for place in _places(config) if place.endswith(f".{name}")]
        if name is None or name in config or len(places) != 1:
            raise
        raise ValueError(places[0] + str(error).removeprefix(name)) from error
    except Exception as error:
        node = config.get("optimizer")
        if not node or not raised_in_step(error, target_of(node, "optimizer")):
            raise
        raise ValueError(_message("optimizer", node, error)) from error


# Errors of Python, NumPy and torch for arrays that are too large, beside MemoryError and OverflowError.
_TOO_LARGE = re.compile("allocate|out of memory|overflow", re.IGNORECASE)


@contextmanager
def name_size_in_errors(config: Config) -> Iterator[None]:
    """Turn errors for arrays that do not fit into memory into ValueErrors that name the largest number of the config.

    Args:
        config: the config of the job.
    """
    try:
        yield
    except (MemoryError, OverflowError, RuntimeError, TypeError) as error:
        if isinstance(error, RuntimeError | TypeError) and not _TOO_LARGE.search(str(error)):
            raise
        numbers = [
            (value, key) for key, value in _leaves(config) if isinstance(value, int) and not isinstance(value, bool)
        ]
        size, key = max(numbers, default=(0, "seed"))
        raise ValueError(
            f"{key} = {size}: must be smaller, since this job does not fit into memory ({described(error)})"
        ) from error


@contextmanager
def name_deleted_in_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Turn a KeyError for a setting that an override such as ~optimizer.lr has deleted into a ValueError that names it.

    Args:
        overrides: the overrides that were typed.
    """
    try:
        yield
    except KeyError as error:
        deleted = [word.removeprefix("~").partition("=")[0] for word in overrides if word.startswith("~")]
        for name in deleted:
            if name.rpartition(".")[2] in error.args:
                raise ValueError(f"{name} = none: must be set; leave out ~{name}") from error
        raise


def target_of(config: Config | None, group: str) -> Any:
    """Return the class or function that the `_target_` of a config group names.

    Args:
        config: the node of the group.
        group: name of the group, for error messages.
    Raises:
        ValueError: `_target_` is missing or cannot be imported.
    """
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(f"{group} = {config!r}: must be a mapping with _target_ and its settings")
    name = (config or {}).get("_target_")
    if not isinstance(name, str):
        raise ValueError(f"{group}._target_ = {name!r}: must be {_TARGET}")
    try:
        return get_object(name)
    except Exception as error:  # importing a user's module can raise anything
        raise ValueError(
            f"{group}._target_ = {name!r}: cannot be imported ({one_line(error)}); must be {_TARGET}"
        ) from error


def accepts(config: Config | None, group: str, key: str) -> bool:
    """Return whether the target of a config group has a parameter named `key`."""
    return key in inspect.signature(target_of(config, group)).parameters


def check_keys(config: Config | None, group: str, given: Config) -> None:
    """Raise ValueError if a config group has a key that its target does not accept, or a value of another type.

    Args:
        config: the node of the group.
        group: name of the group, for error messages.
        given: arguments that the program passes itself, which the config must not set.
    """
    target = target_of(config, group)
    _check_types(config or {}, group)
    parameters = parameters_of(target)
    if not (parameters or _constructs_as_lightning(target)) or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    ):
        return
    open_parameters = list(parameters)[:1] if given.get("_partial_") else []
    allowed = sorted(parameters.keys() - given.keys() - set(open_parameters))
    for key, value in (config or {}).items():
        if key not in ("_target_", *_OF_HYDRA) and key not in allowed:
            raise ValueError(
                f"{group}.{key} = {value!r}: no such setting; must be one of {', '.join(allowed) or 'none'}"
            )


def _check_types(config: Config, group: str) -> None:
    """Raise ValueError if a value does not have the type that the target's parameter is annotated with.

    The default value of a parameter is always allowed. Nested nodes with a `_target_` are checked, too.
    """
    target = target_of(config, group)
    annotations = {**implied_types(target), **annotations_of(config["_target_"]), **_OF_HYDRA}
    parameters = parameters_of(target)
    for key, value in config.items():
        is_default = key in parameters and parameters[key].default is value
        if not is_default and key in annotations:
            check_type(f"{group}.{key}", value, annotations[key])
        if isinstance(value, Mapping) and "_target_" in value:
            check_keys(value, f"{group}.{key}", {})


def parameters_of(target: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a target by name; empty if it is not callable, or written in C.

    They are also empty for a subclass of LightningModule or LightningDataModule without a constructor of its own, since
    those of Lightning accept any argument and ignore it.
    """
    if _constructs_as_lightning(target):
        return {}
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def _constructs_as_lightning(target: Any) -> bool:
    """Return whether a class has the constructor of Lightning's LightningModule or LightningDataModule."""
    names = ("LightningModule", "LightningDataModule")
    definition = next((base for base in getattr(target, "__mro__", ()) if "__init__" in vars(base)), None)
    return any(base.__name__ in names for base in getattr(target, "__mro__", ())) and (
        getattr(definition, "__module__", "").partition(".")[0] in ("pytorch_lightning", "lightning")
    )


def _message(group: str, config: Config, error: BaseException) -> str:
    text = one_line(error)
    if name := named_in(text):
        return text if "." in name else f"{group}.{text}"
    if not isinstance(error, ValueError | TypeError | MisconfigurationException):
        text = f"{type(error).__name__}: {text}"
    for key, value in config.items():
        if _names(text, key) and _names(text, value):
            return f"{group}.{key} = {value!r}: {text}"
    settings = [f"{key} = {value!r}" for key, value in config.items() if not key.startswith("_") and value is not None]
    return f"{group}: {text}" + (f"; one of its settings must change: {', '.join(settings)}" if settings else "")


def _names(text: str, word: object) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(str(word))}(?!\w)", text, re.IGNORECASE) is not None


def _leaves(config: Config, group: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{group}{key}.")
        else:
            yield from ((f"{group}{key}", item) for item in (value if isinstance(value, list) else [value]))


def _places(config: Config, group: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield group + key
        if isinstance(value, Mapping):
            yield from _places(value, f"{group}{key}.")
