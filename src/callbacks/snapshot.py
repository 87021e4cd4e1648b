"""Remember what objects hold, and put it back, so that what is done in between has not been."""

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor


@contextmanager
def as_it_was(*objects: Any) -> Iterator[None]:
    """Afterwards, also after an error, the objects hold what they did before, and so do the global random streams."""
    snapshot, streams = Snapshot(*objects), isolate_rng()
    streams.__enter__()  # by hand: within an error, its `with` would leave the streams where they are
    try:
        yield
    finally:
        streams.__exit__(None, None, None)
        snapshot.restore()


class Snapshot:
    """The attributes of objects, and what those hold: tensors, their gradients, random generators, and containers.

    `restore` puts the contents back into the same tensors and containers, so that whoever holds one of them sees it
    as it was; attributes that are new are deleted. What attributes refer to beside these is left alone: an object
    that is to be restored, a child module say, has to be named itself. Costs a copy of every tensor, on its device.
    """

    def __init__(self, *objects: Any) -> None:
        self._kept: dict[int, tuple[Any, Any]] = {}
        for each in objects:
            self._keep(vars(each))

    def restore(self) -> None:
        """Put everything back."""
        for value, contents in self._kept.values():
            _put_back(value, contents)

    def _keep(self, value: Any) -> None:
        if id(value) in self._kept:
            return
        contents = _contents(value)
        if contents is not None:
            self._kept[id(value)] = value, contents
        for part in _parts(value):
            self._keep(part)


def _contents(value: Any) -> Any:
    """A copy of what the value holds; None for what is not kept."""
    if isinstance(value, Tensor):
        return (value.detach().clone(), value.grad if value.is_leaf else None) if _can_change(value) else None
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list | set | deque):
        return list(value)
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    return value.getstate() if isinstance(value, random.Random) else None


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Tensor):
        return [value.grad] if value.is_leaf else []
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | deque) or type(value) is tuple else []


def _put_back(value: Any, contents: Any) -> None:
    if isinstance(value, Tensor):
        copy, gradient = contents
        value.detach().copy_(copy)
        if value.is_leaf:
            value.grad = gradient
    elif isinstance(value, dict):
        for new in value.keys() - contents.keys():
            del value[new]
        value.update(contents)
    elif isinstance(value, set):
        value.clear()
        value.update(contents)
    elif isinstance(value, list | deque):
        value.clear()
        value.extend(contents)
    elif isinstance(value, torch.Generator):
        value.set_state(contents)
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = contents
    else:
        value.setstate(contents)


def _can_change(tensor: Tensor) -> bool:
    """Not of an inference tensor, nor of one whose elements share memory, into which nothing can be written."""
    if tensor.is_inference() or tensor.layout is not torch.strided:
        return False
    return all(stride or size == 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
