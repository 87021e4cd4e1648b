"""Classes and functions of earlier versions that a config may still name, and where they are now."""

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from hydra.utils import get_object

# First name: present name. An identity is of the first name, so that a move changes no run's hash.
MOVED: dict[str, str] = {}


def current_targets(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the present name in place of each `_target_` that has moved; on stderr a line for each, once.

    A name that can be imported as it stands is left alone: it is the user's own package of the same name.
    """
    return {key: _current(value, key) for key, value in config.items()}


def _current(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return current_targets(value)
    if isinstance(value, list):
        return [_current(item) for item in value]
    return current_name(value) if key == "_target_" and value in MOVED else value


@cache
def current_name(name: str) -> str:
    """The present name of something that may have moved."""
    if name not in MOVED or _is_importable(name):
        return name
    print(f"note: {name} is {MOVED[name]} now; the old name still works", file=sys.stderr)
    return MOVED[name]


@cache
def first_name(name: str) -> str:
    """The name that a class or function had when configs first named it."""
    return next((first for first, present in MOVED.items() if present == name), name)


def _is_importable(name: str) -> bool:
    try:
        get_object(name)
    except Exception:  # whatever importing a user's module raises: building from the name says it
        return False
    return True
