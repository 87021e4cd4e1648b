"""Save and restore tensors, containers and random generators that objects hold."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor


@contextmanager
def restored(*objects: Any) -> Iterator[None]:
    """Restore the attributes of objects at the end of the block, also after an error.

    What attributes hold is restored in place: the values and gradients of tensors, the states of random generators,
    and dictionaries, lists, sets and deques with all they contain. New attributes are deleted. Other objects that
    attributes refer to, such as child modules, are left alone, unless they are named as well. Costs a copy of every
    tensor, on its device.

    Example:
        >>> from types import SimpleNamespace
        >>> held = SimpleNamespace(losses=[torch.zeros(2)])
        >>> with restored(held):
        ...     held.losses[0] += 1
        ...     held.losses.append(None)
        >>> held.losses
        [tensor([0., 0.])]
    """
    saved: dict[int, tuple[Any, Callable[[], object]]] = {}  # with the values, whose ids stay theirs
    for each in objects:
        _save(vars(each), saved)
    try:
        yield
    finally:
        for _, restore in saved.values():
            restore()


def _save(value: Any, saved: dict[int, tuple[Any, Callable[[], object]]]) -> None:
    if id(value) in saved:
        return
    restore = _restorer(value)
    if restore is not None:
        saved[id(value)] = value, restore
    for part in _parts(value):
        _save(part, saved)


def _restorer(value: Any) -> Callable[[], object] | None:
    """Restores the present content of a value; None for a value that is not restored."""
    if isinstance(value, Tensor):
        gradient = value.grad if value.is_leaf else None
        return partial(_restore_tensor, value, value.detach().clone(), gradient) if _can_change(value) else None
    if isinstance(value, dict):
        return partial(_refill, value, dict(value))
    if isinstance(value, list | set | deque):
        return partial(_refill, value, list(value))
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    return partial(value.setstate, value.getstate()) if isinstance(value, random.Random) else None


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Tensor):
        return [value.grad] if value.is_leaf else []
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | deque) or type(value) is tuple else []


def _restore_tensor(tensor: Tensor, copy: Tensor, gradient: Tensor | None) -> None:
    tensor.detach().copy_(copy)
    if tensor.is_leaf:
        tensor.grad = gradient


def _refill(container: Any, contents: Any) -> None:
    container.clear()
    add = container.extend if isinstance(container, list | deque) else container.update
    add(contents)


def _can_change(tensor: Tensor) -> bool:
    """Not of an inference tensor, nor of one whose elements share memory, into which nothing can be written."""
    if tensor.is_inference() or tensor.layout is not torch.strided:
        return False
    return all(stride or size == 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
