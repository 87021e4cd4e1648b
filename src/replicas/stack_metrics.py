"""Losses and accuracies of all replicas on an evaluation set."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from start_training.callbacks.evaluation import evaluating
from start_training.datamodules.loader import EvaluationLoader
from start_training.replicas.forward_pass import logits_of
from start_training.replicas.stack import Stack

Precision = Callable[[], AbstractContextManager[object]]
Evaluation: TypeAlias = Callable[[Stack, EvaluationLoader, Sequence[slice], Precision], tuple[Tensor, ...]]


def logged_metrics(
    stack: Stack, loader: EvaluationLoader, spans: Sequence[slice], precision: Precision
) -> tuple[Tensor, ...]:
    """What runs log as `val/…` or `test/…`, computed as torchmetrics does: batch means, weighted by size, in float32.

    Args:
        spans: The replicas of which to evaluate some at a time.
        precision: Makes the context of a forward pass.
    Returns:
        Mean loss, and accuracy by the largest logit, (R,) each.
    """
    device = stack.parameters.device
    losses, right = torch.zeros(len(stack), device=device), torch.zeros(len(stack), device=device)
    samples = 0
    for logits, targets, span in _logits(stack, loader, spans, precision):
        count = len(targets)
        losses[span] += _losses(logits, targets).mean(1).float() * count
        right[span] += (logits.argmax(2) == targets).sum(1)
        samples += count if span.start == 0 else 0
    return losses / samples, right / samples


def exact_metrics(
    stack: Stack, loader: EvaluationLoader, spans: Sequence[slice], precision: Precision
) -> tuple[Tensor, ...]:
    """`logged_metrics` as callbacks compute them: in float64, and a largest logit that is not finite is wrong."""
    device = stack.parameters.device
    losses, right = torch.zeros(2, len(stack), dtype=torch.float64, device=device)
    samples = 0
    for logits, targets, span in _logits(stack, loader, spans, precision):
        sums = [
            cross_entropy(each.float(), targets, reduction="sum") for each in logits
        ]  # rounded as in a run on its own
        losses[span] += torch.stack(sums)
        largest, classes = logits.max(2)
        right[span] += ((classes == targets) & largest.isfinite()).sum(1)
        samples += len(targets) if span.start == 0 else 0
    return losses / samples, right / samples


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss of every replica and sample, (k, samples)."""
    return cross_entropy(logits.flatten(0, 1), targets.repeat(len(logits)), reduction="none").view(logits.shape[:2])


def _logits(
    stack: Stack, loader: EvaluationLoader, spans: Sequence[slice], precision: Precision
) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """Logits (k, samples, classes) and targets of each batch, and the k replicas as a slice."""
    with evaluating(stack.template), torch.no_grad(), precision():
        for span in spans:
            rows = stack.rows(span)
            for inputs, targets, *_ in loader:
                yield logits_of(stack, rows, inputs), targets, span
