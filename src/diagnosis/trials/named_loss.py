"""The loss that a user gives: a function, a loss module, its class, or a name."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from start_training.diagnosis.trials.guessed_loss import LossFails, by_class, main_output, real_tensors
from start_training.settings import one_line

Loss = Callable[[Any, Any], Tensor]
SHORT = {"mse": "mse_loss", "mae": "l1_loss", "bce": "binary_cross_entropy_with_logits", "nll": "nll_loss"}
BY_CLASS = ("cross_entropy", "nll_loss")


def given_loss(loss: Any) -> tuple[Loss | None, str]:
    """Return a function of outputs and targets, and what it is; None if no loss is given.

    Losses of torch get the output `logits`, or the first tensor, of several outputs. Classes may be on the last axis,
    as those of language models are. A function of the user's own gets the outputs as they are.

    Args:
        loss: A function of outputs and targets, a loss module or its class, or a name.

    Raises:
        ValueError: it is none of these.

    Example:
        >>> import torch
        >>> function, text = given_loss("mse")
        >>> function(torch.ones(3, 1), torch.zeros(3)).item(), text
        (1.0, 'mse')
    """
    if loss is None:
        return None, ""
    if isinstance(loss, str):
        return _checked(_named(loss), loss), loss
    if inspect.isclass(loss) and issubclass(loss, nn.Module):
        loss = loss()
    if not callable(loss):
        raise ValueError(f"loss = {loss!r}: must be a function of outputs and targets, or the name of one in torch")
    text = getattr(loss, "__name__", type(loss).__name__)
    if inspect.ismethod(loss):
        text = f"{type(loss.__self__).__name__}.{text}"
    of_torch = isinstance(loss, _Loss) or getattr(loss, "__module__", "") == F.__name__
    if isinstance(loss, nn.Module):
        loss = _in_precision_of_outputs(loss)
    return _checked(_of_one_output(loss) if of_torch else loss, text), text


def _named(name: str) -> Loss:
    module = getattr(nn, name, None)
    if inspect.isclass(module) and issubclass(module, _Loss):
        return _of_one_output(module())
    function = getattr(F, SHORT.get(name, name), None)
    if function is None or not callable(function) or not any(word in function.__name__ for word in ("loss", "entropy")):
        raise ValueError(
            f"loss = {name!r}: must be a function of outputs and targets, one of cross_entropy, {', '.join(SHORT)}, or "
            "the name of another loss in torch.nn.functional or torch.nn"
        )
    return _of_one_output(_converting(function))


def _of_one_output(loss: Loss) -> Loss:
    """Give a loss of torch one output, with classes on axis 1."""
    name = getattr(loss, "__name__", type(loss).__name__)

    def of_one(outputs: Any, targets: Any) -> Tensor:
        output = main_output(outputs)
        if name in (*BY_CLASS, "CrossEntropyLoss", "NLLLoss") and isinstance(targets, Tensor):
            fits = output.dim() == targets.dim() + 1
            if fits and output.shape[0] == targets.shape[0] and output.shape[2:] != targets.shape[1:]:
                logits = by_class(output, targets)
                return loss(output, targets) if logits is None else loss(logits, targets.flatten())
        return loss(output, targets)

    return of_one


def _converting(function: Loss) -> Loss:
    """Convert targets to the type and shape that a function of torch takes; a module of the user's has to fit."""

    def converting(output: Tensor, targets: Any) -> Tensor:
        if isinstance(targets, Tensor):
            if function.__name__ not in BY_CLASS:
                targets = targets.to(output.dtype)
                if targets.shape != output.shape and targets.numel() == output.numel():
                    targets = targets.reshape(output.shape)
            elif not targets.is_floating_point():
                targets = targets.long()
        return function(output, targets)

    converting.__name__ = function.__name__
    return converting


def _in_precision_of_outputs(module: nn.Module) -> Loss:
    """Give the weights of a loss module the precision of the outputs, in which lengths are measured."""
    copies: dict[torch.dtype, nn.Module] = {}

    def converted(outputs: Any, targets: Any) -> Tensor:
        kinds = {one.dtype for one in real_tensors(outputs)}
        if len(kinds) != 1 or not any(one.is_floating_point() for one in module.state_dict().values()):
            return module(outputs, targets)
        [dtype] = kinds
        if dtype not in copies:
            copies[dtype] = copy.deepcopy(module).to(dtype=dtype)
        return copies[dtype](outputs, targets)

    converted.__name__ = type(module).__name__
    return converted


def _checked(loss: Loss, text: str) -> Loss:
    def checked(outputs: Any, targets: Any) -> Tensor:
        if targets is None:
            raise LossFails(f"loss = {text}: needs targets; pass targets=… or a batch (inputs, targets)")
        try:
            return loss(outputs, targets)
        except Exception as error:  # the user's function may raise anything
            raise LossFails(f"loss = {text}: fails on the outputs and targets ({one_line(error)})") from error

    return checked
