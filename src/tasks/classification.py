"""Classification: one of several classes for each sample."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from start_training.tasks.merit import ACCURACY
from start_training.tasks.task import Task, declared


class Classification(Task):
    """Classification into `outputs` classes by cross-entropy, scored by accuracy.

    Outputs are logits (samples, classes), and targets class numbers (samples,).

    Args:
        outputs: Number of classes; None: taken from the data.
        loss: Function of logits and targets that returns the mean loss; None: cross-entropy.

    Example:
        >>> import torch
        >>> logits, targets = torch.tensor([[2.0, 0.0], [3.0, 1.0]]), torch.tensor([0, 1])
        >>> task = Classification(outputs=2)
        >>> task.score(task.sums(logits, targets).tolist(), 2)
        0.5
    """

    merit = ACCURACY

    def outputs_of(self, datamodule: Any) -> int | None:
        return declared(datamodule, "classes", "num_classes", "n_classes")

    def outputs_of_targets(self, targets: Tensor) -> int:
        if targets.is_floating_point():
            raise ValueError(
                f"task = classification: needs class numbers, but the targets are of {targets.dtype}; "
                "type task=regression, or task=multilabel"
            )
        if targets.ndim != 1:
            raise ValueError(
                "task = classification: needs one class number per sample, but the targets of a batch have shape "
                f"{tuple(targets.shape)}; type task=multilabel for several labels per sample"
            )
        return int(targets.max()) + 1

    def default_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets)

    def summed_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.own_loss is not None:
            return super().summed_loss(outputs, targets)
        return cross_entropy(outputs.float(), targets, reduction="sum")

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return correct(outputs, targets).unsqueeze(0)

    def score(self, sums: Sequence[float], samples: float) -> float:
        return sums[0] / samples

    def metric(self) -> Metric:
        assert self.outputs is not None
        return MulticlassAccuracy(self.outputs, average="micro")

    def chance_loss(self) -> float | None:
        known = self.own_loss is None and self.outputs is not None and self.outputs > 1
        return math.log(self.outputs) if known and self.outputs else None


def are_logits(outputs: object, targets: object) -> bool:
    """Return whether these are logits (samples, classes) and class numbers (samples,), so that they have an accuracy.

    Example:
        >>> import torch
        >>> are_logits(torch.zeros(4, 3), torch.tensor([0, 2, 1, 0])), are_logits(torch.zeros(4, 1), torch.ones(4, 1))
        (True, False)
    """
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or outputs.ndim != 2 or targets.ndim != 1:
        return False
    if targets.is_floating_point() or targets.is_complex() or len(targets) != len(outputs) or outputs.shape[1] < 2:
        return False
    return not len(targets) or int(targets.max()) < outputs.shape[1]


def correct(logits: Tensor, targets: Tensor) -> Tensor:
    """Count the samples whose target has the largest logit; a sample whose largest logit is not finite is wrong.

    Without that condition, argmax of a row of NaNs would choose class 0.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    largest, classes = logits.max(1)
    if classes.shape != targets.shape:
        raise ValueError(
            f"task = classification: outputs have shape {tuple(logits.shape)} and targets {tuple(targets.shape)}; must "
            "be logits (samples, classes) and class numbers (samples,); a module of yours may state another `self.task`"
        )
    return ((classes == targets) & largest.isfinite()).sum()
