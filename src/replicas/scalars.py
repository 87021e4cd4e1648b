"""Find scalar attributes in which nets of one architecture differ, such as the scales of residual modules."""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# Attributes of every nn.Module: tensors, which `Stack` handles, and settings without effect on the forward pass.
_OF_TORCH = frozenset(vars(nn.Module()))
ALLOWED = "only parameters, buffers and numbers may differ"


class Place(NamedTuple):
    """The place of a number in a net: a module's name, its attribute, and the entry if the attribute is a list."""

    name: str
    attribute: str
    entry: int | None = None


def varying_scalars(nets: Sequence[nn.Module]) -> dict[Place, list[float]]:
    """Find the scalar attributes of modules that are not equal in all nets.

    Returns:
        The values in each net, by place.
    Raises:
        ValueError: the nets differ in something other than numbers, parameters and buffers.
    """
    modules = [dict(net.named_modules()) for net in nets]
    scalars: dict[Place, list[float]] = {}
    for name, first in modules[0].items():
        namesakes = [by_name[name] for by_name in modules if type(by_name.get(name)) is type(first)]
        if len(namesakes) < len(nets):
            raise ValueError(f"model: the nets of a group differ in {name or 'their class'}; {ALLOWED}")
        for attribute in dict.fromkeys(key for module in namesakes for key in vars(module) if key not in _OF_TORCH):
            values = [vars(module).get(attribute) for module in namesakes]
            if not all(_same(value, values[0]) for value in values[1:]):
                scalars |= _places(name, attribute, values)
    return scalars


def swap_value(net: nn.Module, place: Place, value: Any) -> Any:
    """Set the value at a place of a net, and return the previous value."""
    holder: Any = vars(net.get_submodule(place.name))
    key: Any = place.attribute
    if place.entry is not None:
        holder, key = holder[key], place.entry
    previous, holder[key] = holder[key], value
    return previous


def _places(name: str, attribute: str, values: Sequence[Any]) -> dict[Place, list[float]]:
    if all(_is_number(value) for value in values):
        return {Place(name, attribute): [float(value) for value in values]}
    if all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        columns = list(zip(*values, strict=True))
        if all(_is_number(value) for column in columns for value in column):
            return {Place(name, attribute, index): [float(v) for v in column] for index, column in enumerate(columns)}
    where = f"{name}.{attribute}" if name else attribute
    raise ValueError(f"model: the nets of a group differ in {where}; {ALLOWED}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(value: Any, other: Any) -> bool:
    if type(value) is not type(other):
        return False
    if isinstance(value, nn.Parameter | weakref.ref):  # nn.LSTM has weak references to its parameters
        return True
    if isinstance(value, Tensor):
        return torch.equal(value, other)
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(map(_same, value, other))
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(_same(value[key], other[key]) for key in value)
    if type(value).__eq__ is object.__eq__ and hasattr(value, "__dict__"):
        return _same(vars(value), vars(other))
    return np.array_equal(value, other) if isinstance(value, np.ndarray) else bool(value == other)
