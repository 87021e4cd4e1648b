"""Save and restore tensors, containers and random generators in the attributes of objects."""

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
    """Save the attributes of objects, and restore them at the end of the block, also after an error.

    Values are restored in place: values and gradients of tensors, states of random generators, and dictionaries,
    lists, sets and deques with their contents. New attributes are deleted. Other objects in attributes, such as child
    modules, are not restored unless they are also passed as arguments. Needs memory for a copy of every tensor, on its
    device.

    Example:
        >>> from types import SimpleNamespace
        >>> history = SimpleNamespace(losses=[torch.zeros(2)])
        >>> with restored(history):
        ...     history.losses[0] += 1
        ...     history.losses.append(None)
        >>> history.losses
        [tensor([0., 0.])]
    """
    saved: dict[int, tuple[Any, Callable[[], object]]] = {}  # by id; holding the values keeps ids unique
    for item in objects:
        _save(vars(item), saved)
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
    """Return a function that restores the present content of a value in place; None for types without content."""
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
    """Return whether a tensor can be written to: not an inference tensor, and no two elements share memory."""
    if tensor.is_inference() or tensor.layout is not torch.strided:
        return False
    return all(stride or size == 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
