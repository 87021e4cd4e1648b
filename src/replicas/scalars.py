"""Numbers by which the modules of otherwise equal nets differ, such as the scales of residual modules."""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# Attributes of nn.Module itself: they hold tensors, which `Stack` stacks, or nothing that a forward pass computes with.
_OF_TORCH = frozenset(vars(nn.Module()))


class Place(NamedTuple):
    """Where a module of a net holds a number: in an attribute, or in the entry of a list that is the attribute."""

    name: str
    attribute: str
    entry: int | None = None


def varying_scalars(nets: Sequence[nn.Module]) -> dict[Place, list[float]]:
    """The numbers that are not the same in all nets, with their values in each net.

    Raises:
        ValueError: the nets differ in anything else than such numbers, parameters and buffers.
    """
    modules = [dict(net.named_modules()) for net in nets]
    found: dict[Place, list[float]] = {}
    for name, first in modules[0].items():
        others = [each[name] for each in modules if type(each.get(name)) is type(first)]
        if len(others) < len(nets):
            raise ValueError(
                f"model: the nets of a group differ in {name or 'their class'}, which is more than a number"
            )
        for attribute in dict.fromkeys(key for each in others for key in vars(each) if key not in _OF_TORCH):
            values = [vars(each).get(attribute) for each in others]
            if not all(_same(value, values[0]) for value in values[1:]):
                found |= _places(name, attribute, values)
    return found


def place_in(net: nn.Module, place: Place, value: Any) -> Any:
    """Put a value into a place; returns the value that it replaces."""
    holder: Any = vars(net.get_submodule(place.name))
    key: Any = place.attribute
    if place.entry is not None:
        holder, key = holder[key], place.entry
    before, holder[key] = holder[key], value
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(value: Any, other: Any) -> bool:
    if type(value) is not type(other):
        return False
    if isinstance(value, nn.Parameter | weakref.ref):  # other references to parameters, which modules hold (nn.LSTM)
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
