"""Whose mistake an error in a step of training is: that of the optimizer's settings, or not."""

import inspect
from traceback import walk_tb
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.optimization.closure import AbstractClosure
from torch import nn
from torch.optim import Optimizer

from start_training.ranks import is_lost_connection
from start_training.replicas.memory import is_out_of_memory
from start_training.runs.outcome import Diverged


def implied_types(target: Any) -> dict[str, Any]:
    """Return the types of an optimizer's parameters that have no annotation but a number, true or false as default.

    Example:
        >>> import torch
        >>> class Decay(torch.optim.SGD):
        ...     def __init__(self, params, lr=0.1, decay=0, nested=False, mask=None): ...
        >>> implied_types(Decay)
        {'lr': float | None, 'decay': float | None, 'nested': bool | None}
    """
    if not (inspect.isclass(target) and issubclass(target, Optimizer)):
        return {}
    types: dict[str, Any] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.annotation is parameter.empty and isinstance(parameter.default, bool | int | float):
            types[name] = bool | None if isinstance(parameter.default, bool) else float | None
    return types


def raised_in_step(error: BaseException, optimizer: Any) -> bool:
    """Return whether an error was raised by the code of an optimizer in its step, and not by the training step.

    Lightning computes the loss in a closure that the optimizer calls. Errors that no setting of the optimizer causes,
    such as those of memory, disks and connections, do not count.

    Args:
        error: The error, with its traceback.
        optimizer: The class of the optimizer, or a function that builds one.
    """
    if isinstance(error, Diverged | OSError) or is_out_of_memory(error) or is_lost_connection(error):
        return False
    kind: Any = optimizer if inspect.isclass(optimizer) else Optimizer
    within = False
    for frame, _ in walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if frame.f_code.co_name == "step" and isinstance(owner, kind):
            within = True
        elif isinstance(owner, nn.Module | pl.Callback | AbstractClosure):
            within = False
    return within
