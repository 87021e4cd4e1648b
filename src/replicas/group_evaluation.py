"""What a group does besides its training steps: it validates, tests, asks callbacks to measure, and logs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from start_training.callbacks.contracts import GroupCallback, GroupMoment, GroupRun
from start_training.callbacks.evaluation import evaluating
from start_training.datamodules.loader import EvaluationLoader
from start_training.datamodules.samples import Samples
from start_training.replicas.forward_pass import logits_of
from start_training.replicas.replica import Replica, mean_loss
from start_training.replicas.stack import Stack
from start_training.replicas.updates import Precision, Updates

Due = list[tuple[GroupCallback, Replica]]  # of one class


@dataclass(frozen=True)
class Sets:
    """The data of a group, on its device and in its precision; None for an empty set."""

    training: Samples
    validation: EvaluationLoader | None
    test: EvaluationLoader | None


class GroupEvaluation:
    """Evaluates the replicas of a group, and serves their callbacks.

    In all methods, `all` are the replicas in the order of the stack, and the other ones are some of these.
    """

    def __init__(self, updates: Updates, sets: Sets, replica: Replica) -> None:
        self._updates, self._sets = updates, sets
        callbacks = enumerate(replica.callbacks)  # those of the other replicas have the same classes and settings
        self._periods = {at: each.group_period() for at, each in callbacks if isinstance(each, GroupCallback)}

    @property
    def validations(self) -> int:
        """Batches of the validation set."""
        return 0 if self._sets.validation is None else len(self._sets.validation)

    def due(self, replicas: Sequence[Replica], moment: GroupMoment) -> list[Due]:
        """The callbacks that are to measure now, by class, with their replicas."""
        asked = [at for at, n in self._periods.items() if moment.epoch_ended or (n and moment.step % n == 0)]
        due = [[pair for pair in _callbacks_at(at, replicas) if pair[0].group_is_due(moment)] for at in asked]
        return [of_class for of_class in due if of_class]

    def start(self, replicas: Sequence[Replica], moment: GroupMoment) -> None:
        """Start the callbacks, which may measure right away."""
        pairs = [_callbacks_at(at, replicas) for at in self._periods]
        due = [[(own, each) for own, each in of_class if own.group_start(each, moment)] for of_class in pairs]
        measure([of_class for of_class in due if of_class], moment)

    def test_means(self, all: Sequence[Replica]) -> Callable[[GroupRun], tuple[float, float]]:
        """The function `test_means` of a `GroupMoment` of these replicas."""
        order: list[GroupRun] = list(all)

        @cache
        def evaluated() -> dict[GroupRun, tuple[float, float]]:
            if self._sets.test is None:
                raise ValueError("datamodule: has no test set, whose accuracy callbacks ask for")
            losses, accuracies = self._updates.evaluate(exact_metrics, self._sets.test)
            return dict(zip(order, zip(losses.tolist(), accuracies.tolist(), strict=True), strict=True))

        return lambda run: evaluated()[run]

    def end_epoch(self, all: Sequence[Replica], ending: Sequence[Replica], moment: GroupMoment) -> None:
        """What a run does at an epoch's end: it validates, unless max_steps cuts the epoch short, measures and logs."""
        step, epoch = moment.step, moment.epoch
        whole = moment.epochs == epoch + 1
        if self._sets.validation is not None and (whole or ending[0].should_stop):
            self._evaluate("val", all, ending, self._sets.validation, step=step - 1, epoch=epoch)
        measure(self.due(ending, moment), moment)
        for replica in ending:
            loss = mean_loss(replica.losses, replica.samples)
            replica.callback_metrics["train/loss"] = loss
            row = {"epoch": epoch, "train/loss": loss, "learning_rate": float(replica.rate(step - 1))}
            replica.log.log_metrics(row, step - 1)

    def test(self, all: Sequence[Replica], ended: Sequence[Replica]) -> None:
        """Test replicas that have come to their end."""
        if self._sets.test is not None:
            step, epoch = ended[0].global_step, ended[0].current_epoch
            self._evaluate("test", all, ended, self._sets.test, step=step, epoch=epoch)

    def _evaluate(
        self, stage: str, all: Sequence[Replica], of: Sequence[Replica], loader: EvaluationLoader, **at: int
    ) -> None:
        losses, accuracies = (values.tolist() for values in self._updates.evaluate(logged_metrics, loader))
        for replica in of:
            row = all.index(replica)
            metrics = {f"{stage}/loss": losses[row], f"{stage}/accuracy": accuracies[row]}
            replica.callback_metrics |= metrics
            replica.log.log_metrics({**metrics, "epoch": at["epoch"]}, at["step"])


def measure(due: Sequence[Due], moment: GroupMoment) -> None:
    """Have callbacks measure, those of a class at once."""
    for of_class in due:
        type(of_class[0][0]).group_measure(of_class, moment)


def _callbacks_at(position: int, replicas: Sequence[Replica]) -> Due:
    return [(own, each) for each in replicas if isinstance(own := each.callbacks[position], GroupCallback)]


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
