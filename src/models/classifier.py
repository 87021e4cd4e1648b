"""The LightningModule that trains a net of this project or of the user as a classifier."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from start_training.models.training_module import TrainingModule
from start_training.tasks.classification import Classification


class Classifier(TrainingModule):
    """A `TrainingModule` for classification by cross-entropy, which logs loss and accuracy.

    Args:
        net: Module from inputs (samples, …) to logits (samples, classes).
        optimizer: A function from parameters to an optimizer.
        classes: Number of classes.
        schedule: As in `TrainingModule`.
        seed: As in `TrainingModule`.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        *,
        classes: int,
        schedule: Callable[..., Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(net, optimizer, task=Classification(outputs=classes), schedule=schedule, seed=seed)
