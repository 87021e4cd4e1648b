"""Numbers by which the modules of otherwise equal nets differ, such as the scales of residual modules."""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# Of nn.Module itself: what these hold is stacked elsewhere, or no part of what a forward pass computes.
_OF_TORCH = frozenset(vars(nn.Module()))


class Place(NamedTuple):
    """Where a number stands: an attribute of the module `name`; with an entry, in the list that the attribute is."""

    name: str
    attribute: str
    entry: int | None = None


def varying_scalars(nets: Sequence[nn.Module]) -> dict[Place, list[float]]:
    """The numbers that are not the same in all nets: each one's value in each net.

    Raises ValueError for nets that differ in anything else, parameters and buffers aside.
    """
    modules = [dict(net.named_modules()) for net in nets]
    found: dict[Place, list[float]] = {}
    for name, first in modules[0].items():
        others = [each[name] for each in modules if type(each.get(name)) is type(first)]
        if len(others) < len(nets):
            raise ValueError(
                f"model: the nets of a group differ in {name or 'their class'}, which is more than a number"
            )
        for attribute in dict.fromkeys(attribute for each in others for attribute in _attributes(each)):
            values = [vars(each).get(attribute) for each in others]
            if not all(_same(value, values[0]) for value in values[1:]):
                found |= _places(name, attribute, values)
    return found


def place_in(net: nn.Module, place: Place, value: Any) -> Any:
    """Put a number, or a tensor in its place, where it belongs, and return what stood there."""
    holder: Any = vars(net.get_submodule(place.name))
    if place.entry is None:
        before, holder[place.attribute] = holder[place.attribute], value
    else:
        holder = holder[place.attribute]
        before, holder[place.entry] = holder[place.entry], value
    return before


def _places(name: str, attribute: str, values: Sequence[Any]) -> dict[Place, list[float]]:
    if all(_is_number(value) for value in values):
        return {Place(name, attribute): [float(value) for value in values]}
    if all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        columns = list(zip(*values, strict=True))
        if all(_is_number(value) for column in columns for value in column):
            return {Place(name, attribute, index): [float(v) for v in each] for index, each in enumerate(columns)}
    where = f"{name}.{attribute}" if name else attribute
    raise ValueError(f"model: the nets of a group differ in {where}, which is more than a number")


def _attributes(module: nn.Module) -> list[str]:
    return [name for name in vars(module) if name not in _OF_TORCH]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(value: Any, other: Any) -> bool:
    if type(value) is not type(other):
        return False
    if isinstance(value, nn.Parameter):  # of the module, by another name (nn.LSTM)
        return True
    if isinstance(value, Tensor):
        return torch.equal(value, other)
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(map(_same, value, other))
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(_same(value[key], other[key]) for key in value)
    if type(value).__eq__ is object.__eq__ and hasattr(value, "__dict__"):
        return _same(vars(value), vars(other))
    if isinstance(value, weakref.ref):  # to what a module holds itself
        return True
    if isinstance(value, np.ndarray):
        return np.array_equal(value, other)
    return bool(value == other)
