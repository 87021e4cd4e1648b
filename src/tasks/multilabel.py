"""Multi-label classification: each of several labels holds or not for each sample."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from start_training.tasks.merit import ACCURACY
from start_training.tasks.task import Task, declared, float_targets


class Multilabel(Task):
    """Multi-label classification by binary cross-entropy, scored by the fraction of labels that are right.

    Outputs are logits (samples, labels), and targets 0 or 1 of the same shape. A label is predicted if its logit is
    above 0; a logit that is not finite is wrong.

    Args:
        outputs: Number of labels; None: taken from the data.
        loss: Function of logits and targets that returns the mean loss; None: binary cross-entropy of the logits.

    Example:
        >>> import torch
        >>> logits, targets = torch.tensor([[2.0, -1.0], [3.0, 1.0]]), torch.tensor([[1, 0], [1, 0]])
        >>> task = Multilabel(outputs=2)
        >>> task.score(task.sums(logits, targets).tolist(), 2)
        0.75
    """

    merit = ACCURACY

    def outputs_of(self, datamodule: Any) -> int | None:
        return declared(datamodule, "labels", "num_labels", "outputs")

    def outputs_of_targets(self, targets: Tensor) -> int:
        if targets.ndim != 2:
            raise ValueError(
                "task = multilabel: needs 0 or 1 for each sample and label, but the targets of a batch have shape "
                f"{tuple(targets.shape)}; type task=classification for one class per sample"
            )
        return int(targets.shape[1])

    def default_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(outputs, targets)

    def shaped(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return float_targets("multilabel", outputs, targets)

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        right = ((outputs > 0) == (self.shaped(outputs, targets) > 0.5)) & outputs.isfinite()
        return right.double().reshape(len(right), -1).mean(1).sum().unsqueeze(0)

    def score(self, sums: Sequence[float], samples: float) -> float:
        return sums[0] / samples

    def chance_loss(self) -> float | None:
        return math.log(2) if self.own_loss is None else None
