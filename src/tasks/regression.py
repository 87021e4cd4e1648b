"""Regression: one or several numbers for each sample."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from start_training.tasks.merit import Merit
from start_training.tasks.task import Task, declared, float_targets


class Regression(Task):
    """Regression by the mean squared error, scored by R² = 1 − Σ(y − ŷ)² / Σ(y − mean y)².

    Outputs are (samples, outputs), and targets numbers of the same shape, or (samples,) for one output. For several
    outputs, R² is the mean over the outputs; an output whose targets are constant counts as 0.

    Args:
        outputs: Number of numbers to predict for each sample; None: taken from the data.
        loss: Function of outputs and targets that returns the mean loss, such as torch.nn.HuberLoss; None: mean
            squared error.

    Example:
        >>> predicted, targets = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1.0, 2.0, 3.0])
        >>> task = Regression(outputs=1)
        >>> task.score(task.sums(predicted, targets).tolist(), 3)
        0.5
    """

    merit = Merit("r2", likelihood=False)

    @property
    def width(self) -> int:
        return 3 * (self.outputs or 1)

    def outputs_of(self, datamodule: Any) -> int | None:
        if (classes := declared(datamodule, "classes")) and not declared(datamodule, "outputs"):
            raise ValueError(
                f"task = regression: needs numbers as targets, but {type(datamodule).__name__} has {classes} classes; "
                "type task=classification"
            )
        return declared(datamodule, "outputs", "num_outputs", "num_targets")

    def outputs_of_targets(self, targets: Tensor) -> int:
        return max(1, targets[0].numel())

    def default_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return mse_loss(outputs, targets)

    def shaped(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return float_targets("regression", outputs, targets)

    def chance_loss_of(self, targets: Tensor) -> float | None:
        """Return the loss of predicting the mean of the targets."""
        return float(self.loss(targets.float().mean(0, keepdim=True).expand(targets.shape), targets))

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = self.shaped(outputs, targets).double().reshape(len(outputs), -1)
        errors = wanted - outputs.double().reshape(len(outputs), -1)
        return torch.cat([errors.square().sum(0), wanted.sum(0), wanted.square().sum(0)])

    def score(self, sums: Sequence[float], samples: float) -> float:
        squares, total, total_squares = torch.tensor(list(sums), dtype=torch.float64).chunk(3)
        spread = total_squares - total.square() / samples
        constant = spread <= 1e-12 * total_squares
        return float(torch.where(constant, 0.0, 1 - squares / spread.where(~constant, torch.ones_like(spread))).mean())
