"""The loss that follows from outputs and targets if none is given: cross-entropy, or a squared error."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from start_training.diagnosis.trials.forward_batch import tensors_in
from start_training.diagnosis.trials.loss_calls import last_function

PROBABLE = ("Sigmoid", "Softmax", "Hardsigmoid", "Clamp")  # autograd nodes that compute probabilities
IGNORED = 255  # index of ignored pixels in many segmentation data sets; negative ones are ignored as well
CLASSES = "cross-entropy, since the targets are integers"
BINARY = "binary cross-entropy, since the targets are 0 and 1"
REAL = "mean squared error, since the targets are {} numbers"


class LossFails(ValueError):
    """The error that a loss cannot be computed from what the net returns."""


def guessed_loss(outputs: Any, targets: Any) -> tuple[Tensor, str] | None:
    """Return a loss and what it is; None if no loss fits.

    Targets that are several tensors are compared with as many outputs, by their keys or in their order. One tensor is
    compared with the first output that it fits, and with other outputs of that shape, such as auxiliary ones.

    Args:
        outputs: Outputs of a net.
        targets: Targets.

    Raises:
        LossFails: a class is larger than the number of classes.

    Example:
        >>> loss, text = guessed_loss({"out": torch.zeros(2, 3)}, torch.tensor([0, 1]))
        >>> round(loss.item(), 3), text
        (1.099, 'cross-entropy, since the targets are integers')
    """
    tensors = real_tensors(outputs)
    if isinstance(targets, Tensor):
        for output in tensors:
            if (fit := _of_pair(output, targets)) is not None:
                alike = [one for one in tensors if one is not output and one.shape == output.shape]
                more = [other[0] for one in alike if (other := _of_pair(one, targets)) is not None]
                return torch.stack([fit[0], *more]).sum(), fit[1]
        return None
    pairs = _pairs(outputs, tensors, targets)
    fits = [_of_pair(output, target) for output, target in pairs]
    known = [fit for fit in fits if fit is not None]
    if not known or len(known) < len(fits):
        return None
    return torch.stack([loss.float() for loss, _ in known]).sum(), "; ".join(dict.fromkeys(text for _, text in known))


def real_tensors(outputs: Any) -> list[Tensor]:
    """Return the floating-point tensors of outputs, see `output_tensors`."""
    return [tensor for tensor in output_tensors(outputs) if tensor.is_floating_point()]


def output_tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors of outputs, without the caches that transformers return beside their outputs.

    Example:
        >>> [tensor.shape for tensor in output_tensors({"logits": torch.ones(2), "past_key_values": torch.ones(3)})]
        [torch.Size([2])]
    """
    if isinstance(outputs, Mapping):
        kept = [key for key in outputs if "past_key" not in str(key) and "cache" not in str(key)]
        outputs = [outputs[key] for key in kept]
    return tensors_in(outputs)


def main_output(outputs: Any) -> Any:
    """Return the output that a loss function takes: the entry `logits` or `out`, or else the first tensor."""
    if isinstance(outputs, Tensor):
        return outputs
    for name in ("logits", "out"):
        entry = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if isinstance(entry, Tensor):
            return entry
    return next(iter(real_tensors(outputs)), outputs)


def by_class(predictions: Tensor, targets: Tensor) -> Tensor | None:
    """Return predictions of shape (targets, classes) if they have one axis more than the targets; otherwise None."""
    if predictions.dim() != targets.dim() + 1 or predictions.shape[-1] == 0:
        return None
    for axis in (-1, 1):
        logits = predictions.movedim(axis, -1)
        if logits.shape[:-1] == targets.shape and logits.shape[-1] > 1:
            return logits.flatten(0, -2)
    return None


def _pairs(outputs: Any, tensors: list[Tensor], targets: Any) -> list[tuple[Tensor, Tensor]]:
    if isinstance(targets, Mapping) and isinstance(outputs, Mapping):
        keys = [key for key in targets if isinstance(outputs.get(key), Tensor)]
        return [(outputs[key], targets[key]) for key in keys if isinstance(targets[key], Tensor)]
    wanted = tensors_in(targets)
    return [*zip(tensors, wanted, strict=True)] if 1 < len(wanted) == len(tensors) else []


def _of_pair(output: Tensor, targets: Tensor) -> tuple[Tensor, str] | None:
    """Return the loss of one output, or None if the shapes do not fit."""
    if targets.is_floating_point() or targets.is_complex():
        return _of_numbers(output, targets, "real")
    if targets.dtype != torch.bool:
        single = [axis for axis in (1, -1) if targets.dim() > 1 and targets.shape[axis] == 1]
        for shaped in (targets, *(targets.squeeze(axis) for axis in single)):
            if (logits := by_class(output, shaped)) is not None:
                return F.cross_entropy(logits, _checked_classes(shaped.flatten().long(), logits.shape[-1])), CLASSES
    return _of_numbers(output, targets, "whole")


def _of_numbers(output: Tensor, targets: Tensor, kind: str) -> tuple[Tensor, str] | None:
    shapes = [tuple(size for size in one.shape[1:] if size != 1) for one in (output, targets)]
    if output.numel() != targets.numel() or output.shape[:1] != targets.shape[:1] or shapes[0] != shapes[1]:
        return None
    targets = targets.reshape(output.shape).to(output.dtype)
    probable = last_function(output).startswith(PROBABLE)
    if set(targets.unique().tolist()) == {0.0, 1.0} and not probable:
        return F.binary_cross_entropy_with_logits(output, targets), BINARY
    return F.mse_loss(output, targets), REAL.format(kind)


def _checked_classes(targets: Tensor, classes: int) -> Tensor:
    """Return targets in which what is ignored has the index −100."""
    ignored = (targets < 0) | ((targets == IGNORED) & (classes <= IGNORED))
    largest = int(targets.masked_fill(ignored, 0).max())
    if largest >= classes:
        raise LossFails(f"targets: contain class {largest}, but the outputs have {classes} classes")
    return targets.masked_fill(ignored, -100)
