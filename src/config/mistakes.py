"""Which setting is at fault: from what goes wrong with a config to a ValueError, `group.key = value: …`."""

import inspect
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from start_training.runs.outcome import Diverged, Interrupted
from start_training.settings import named_in, one_line

Config = Mapping[str, Any]
logging.getLogger("hydra.utils").addHandler(logging.NullHandler())  # it would say on stderr what it raises anyway


@contextmanager
def settings_of(group: str, config: Config | None) -> Iterator[None]:
    """Turn every error within into a ValueError that names this config group, and the key if the error names one."""
    try:
        yield
    except (Diverged, Interrupted):  # of a run within: no mistake
        raise
    except Exception as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        raise ValueError(_message(group, config or {}, cause)) from error


@contextmanager
def settings_in(config: Config) -> Iterator[None]:
    """A ValueError that names a key alone gets the group before it, if the key is in one place of the config.

    What Lightning calls a misconfiguration is said of the trainer.
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


def target_of(config: Config | None, group: str) -> Any:
    """What the group's `_target_` names. Raises ValueError where that cannot be imported."""
    name = config.get("_target_") if isinstance(config, Mapping) else None
    if not isinstance(name, str):
        raise ValueError(f"{group}._target_ = {name!r}: must be package.module.name, of a class or function")
    try:
        return get_object(name)
    except Exception as error:  # whatever importing a user's module raises
        raise ValueError(f"{group}._target_ = {name!r}: cannot be imported ({one_line(error)})") from error


def accepts(config: Config | None, group: str, key: str) -> bool:
    """Whether the group's target has a parameter of this name."""
    return key in inspect.signature(target_of(config, group)).parameters


def check_keys(config: Config | None, group: str, given: Config) -> None:
    """Raises ValueError for a key that the group's target has no parameter for, or that is not the user's to set."""
    target = target_of(config, group)
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # nothing to call, as instantiating it will tell, or written in C
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    to_come = list(parameters)[:1] if given.get("_partial_") else []
    allowed = sorted(parameters.keys() - given.keys() - set(to_come))
    for key, value in (config or {}).items():
        if not key.startswith("_") and key not in allowed:
            raise ValueError(f"{group}.{key} = {value!r}: no such setting; there are {', '.join(allowed) or 'none'}")


def _message(group: str, config: Config, error: BaseException) -> str:
    text = one_line(error)
    if name := named_in(text):
        return text if "." in name else f"{group}.{text}"
    if not isinstance(error, ValueError | TypeError | MisconfigurationException):
        text = f"{type(error).__name__}: {text}"
    for key, value in config.items():
        if _names(text, key) and _names(text, value):
            return f"{group}.{key} = {value!r}: {text}"
    return f"{group}: {text}"


def _names(text: str, word: object) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(str(word))}(?!\w)", text, re.IGNORECASE) is not None


def _places(config: Config, group: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield group + key
        if isinstance(value, Mapping):
            yield from _places(value, f"{group}{key}.")
