"""Validation, testing, measurements by callbacks, and logging for the replicas of a group."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from start_training.callbacks.contracts import GroupCallback, GroupMoment, GroupRun
from start_training.callbacks.evaluation import eval_mode
from start_training.datamodules.loader import EvaluationLoader
from start_training.datamodules.samples import Samples
from start_training.replicas.forward_pass import logits_of
from start_training.replicas.replica import Replica, mean_loss
from start_training.replicas.stack import Stack
from start_training.replicas.updates import Precision, Updates

Due = list[tuple[GroupCallback, Replica]]  # the callbacks are of one class


@dataclass(frozen=True)
class Sets:
    """Training, validation and test data of a group, on its device and in its precision; None for an empty set."""

    training: Samples
    validation: EvaluationLoader | None
    test: EvaluationLoader | None


class GroupEvaluation:
    """Evaluate the replicas of a group, and call their callbacks.

    In all methods, `stacked` are all replicas in the order of the stack.

    Args:
        updates: The group's stack of nets, with which they are evaluated.
        sets: The data of the group.
        replica: Any replica of the group, since all have callbacks of the same classes and settings.
    """

    def __init__(self, updates: Updates, sets: Sets, replica: Replica) -> None:
        self._updates, self._sets = updates, sets
        callbacks = enumerate(replica.callbacks)
        self._periods = {
            at: callback.group_period() for at, callback in callbacks if isinstance(callback, GroupCallback)
        }

    @property
    def validations(self) -> int:
        """The number of batches in the validation set."""
        return 0 if self._sets.validation is None else len(self._sets.validation)

    def due(self, replicas: Sequence[Replica], moment: GroupMoment) -> list[Due]:
        """Return the callbacks that measure now with their replicas, a list for each class of callbacks."""
        indices = [index for index, n in self._periods.items() if moment.epoch_ended or (n and moment.step % n == 0)]
        due = [[pair for pair in _callbacks_at(index, replicas) if pair[0].group_is_due(moment)] for index in indices]
        return [pairs for pairs in due if pairs]

    def start(self, replicas: Sequence[Replica], moment: GroupMoment) -> None:
        """Call `group_start` of all callbacks, and let those measure that request it."""
        due = [
            [(callback, run) for callback, run in _callbacks_at(index, replicas) if callback.group_start(run, moment)]
            for index in self._periods
        ]
        measure([pairs for pairs in due if pairs], moment)

    def test_means(self, stacked: Sequence[Replica]) -> Callable[[GroupRun], tuple[float, float]]:
        """Return a function that gives test loss and accuracy of a run; its first call evaluates all replicas."""
        order: list[GroupRun] = list(stacked)

        @cache
        def evaluated() -> dict[GroupRun, tuple[float, float]]:
            if self._sets.test is None:
                raise ValueError(
                    "datamodule: has no test set; a callback of this run needs one to measure test metrics"
                )
            losses, accuracies = self._updates.evaluate(exact_metrics, self._sets.test)
            return dict(zip(order, zip(losses.tolist(), accuracies.tolist(), strict=True), strict=True))

        return lambda run: evaluated()[run]

    def end_epoch(self, stacked: Sequence[Replica], ending: Sequence[Replica], moment: GroupMoment) -> None:
        """Validate, call callbacks and log at the end of an epoch; an epoch cut short by max_steps is not validated.

        Args:
            ending: The replicas whose epoch ends.
        """
        step, epoch = moment.step, moment.epoch
        whole = moment.epochs == epoch + 1
        if self._sets.validation is not None and (whole or ending[0].should_stop):
            self._evaluate("val", stacked, ending, self._sets.validation, step=step - 1, epoch=epoch)
        measure(self.due(ending, moment), moment)
        for replica in ending:
            loss = mean_loss(replica.losses, replica.samples)
            replica.callback_metrics["train/loss"] = loss
            row = {"epoch": epoch, "train/loss": loss, "learning_rate": float(replica.rate(step - 1))}
            replica.log.log_metrics(row, step - 1)

    def test(self, stacked: Sequence[Replica], ended: Sequence[Replica]) -> None:
        """Test the replicas `ended`, which have completed training, and log `test/loss` and `test/accuracy`."""
        if self._sets.test is not None:
            step, epoch = ended[0].global_step, ended[0].current_epoch
            self._evaluate("test", stacked, ended, self._sets.test, step=step, epoch=epoch)

    def _evaluate(
        self,
        stage: str,
        stacked: Sequence[Replica],
        evaluated: Sequence[Replica],
        loader: EvaluationLoader,
        *,
        step: int,
        epoch: int,
    ) -> None:
        losses, accuracies = (values.tolist() for values in self._updates.evaluate(logged_metrics, loader))
        for replica in evaluated:
            row = stacked.index(replica)
            metrics = {f"{stage}/loss": losses[row], f"{stage}/accuracy": accuracies[row]}
            replica.callback_metrics |= metrics
            replica.log.log_metrics({**metrics, "epoch": epoch}, step)


def measure(due: Sequence[Due], moment: GroupMoment) -> None:
    """Let callbacks measure, with one call of `group_measure` for each class of callbacks."""
    for pairs in due:
        type(pairs[0][0]).group_measure(pairs, moment)


def _callbacks_at(index: int, replicas: Sequence[Replica]) -> Due:
    return [(callback, run) for run in replicas if isinstance(callback := run.callbacks[index], GroupCallback)]


def logged_metrics(
    stack: Stack, loader: EvaluationLoader, spans: Sequence[slice], precision: Precision
) -> tuple[Tensor, ...]:
    """Compute loss and accuracy as logged in `val/…` and `test/…`.

    The arithmetic is that of torchmetrics in a run without a group: batch means in float32, weighted by batch size.

    Args:
        loader: The batches to evaluate.
        spans: Slices of replicas that are evaluated in one pass.
        precision: Creates the context manager for the precision of the forward pass.
    Returns:
        Mean loss and accuracy of each replica, shape (R,) each.
    """
    device = stack.parameters.device
    losses, right = torch.zeros(len(stack), device=device), torch.zeros(len(stack), device=device)
    samples = 0
    for logits, targets, span in _logits(stack, loader, spans, precision):
        count = len(targets)
        losses[span] += _losses_per_sample(logits, targets).mean(1).float() * count
        right[span] += (logits.argmax(2) == targets).sum(1)
        samples += count if span.start == 0 else 0
    return losses / samples, right / samples


def exact_metrics(
    stack: Stack, loader: EvaluationLoader, spans: Sequence[slice], precision: Precision
) -> tuple[Tensor, ...]:
    """Compute loss and accuracy as callbacks do: in float64; a sample whose largest logit is not finite is wrong.

    Arguments and results are those of `logged_metrics`.
    """
    device = stack.parameters.device
    losses, right = torch.zeros(2, len(stack), dtype=torch.float64, device=device)
    samples = 0
    for logits, targets, span in _logits(stack, loader, spans, precision):
        # One replica at a time, so that rounding is the same as in a run without a group.
        sums = [cross_entropy(row.float(), targets, reduction="sum") for row in logits]
        losses[span] += torch.stack(sums)
        largest, classes = logits.max(2)
        right[span] += ((classes == targets) & largest.isfinite()).sum(1)
        samples += len(targets) if span.start == 0 else 0
    return losses / samples, right / samples


def _losses_per_sample(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), targets.repeat(len(logits)), reduction="none").view(logits.shape[:2])


def _logits(
    stack: Stack, loader: EvaluationLoader, spans: Sequence[slice], precision: Precision
) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """Yield logits (k, samples, classes), targets (samples,) and the slice of k replicas, for each slice and batch."""
    with eval_mode(stack.template), torch.no_grad(), precision():
        for span in spans:
            rows = stack.rows(span)
            for inputs, targets, *_ in loader:
                yield logits_of(stack, rows, inputs), targets, span
