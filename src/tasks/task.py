"""The contract of a task: number of outputs, loss and score, which the training module, callbacks and studies use."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from start_training.settings import PositiveInteger, checked
from start_training.tasks.merit import Merit

Loss = Callable[[Tensor, Tensor], Tensor]


def loss_function(name: str, value: object) -> Any:
    """Constraint for a loss: a function, or a class such as torch.nn.HuberLoss whose instances are functions."""
    if not callable(value):
        raise ValueError(f"{name} = {value!r}: must be a node with _target_, such as torch.nn.HuberLoss")
    return value


class Task(ABC):
    """Base class of tasks: what a net is trained for.

    A subclass states its `merit`, and implements `outputs_of`, `outputs_of_targets`, `default_loss`, `sums`, `score`.

    Args:
        outputs: Number of outputs of the net; None: taken from the data.
        loss: Function of outputs and targets that returns the mean loss over the samples; None: that of the task.
    """

    merit: ClassVar[Merit]

    @checked
    def __init__(
        self, *, outputs: PositiveInteger | None = None, loss: Annotated[Loss, loss_function] | None = None
    ) -> None:
        self.outputs = outputs
        self.own_loss = loss

    @property
    def width(self) -> int:
        """The number of values that `sums` returns."""
        return 1

    @abstractmethod
    def outputs_of(self, datamodule: Any) -> int | None:
        """Return the number of outputs that the attributes of a datamodule state; None if they state none."""

    @abstractmethod
    def outputs_of_targets(self, targets: Tensor) -> int:
        """Return the number of outputs for a batch of targets.

        Raises:
            ValueError: the targets are not those of this task.
        """

    @abstractmethod
    def default_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean loss of the task over the samples."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean loss over the samples, which training minimizes; targets are first `shaped`.

        Raises:
            ValueError: a loss of the user's returns more than one number.
        """
        if self.own_loss is None:
            return self.default_loss(outputs, self.shaped(outputs, targets))
        loss = self.own_loss(outputs, self.shaped(outputs, targets))
        if loss.ndim:
            raise ValueError(
                f"task.loss = {self.own_loss}: returned a loss of shape {tuple(loss.shape)}; must return the mean over "
                "the samples, one number"
            )
        return loss

    def summed_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss summed over the samples, in float32."""
        return self.loss(outputs.float(), targets) * len(targets)

    @abstractmethod
    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute what `score` needs, summed over the samples of a batch, shape (k,)."""

    @abstractmethod
    def score(self, sums: Sequence[float], samples: float) -> float:
        """Compute the score from `sums` added up over all batches.

        Args:
            sums: As `Task.sums`, added up.
            samples: The number of samples.
        """

    def metric(self) -> Metric:
        """Return a new torchmetrics metric of outputs and targets, the score."""
        return Score(self)

    def chance_loss(self) -> float | None:
        """Return the loss of a net that has learned nothing; None if it is not known in advance."""
        return None

    def chance_loss_of(self, targets: Tensor) -> float | None:
        """Return the loss of a net that has learned nothing, given targets (samples, …); None if it is not known."""
        return self.chance_loss()

    def shaped(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the targets in the form that the loss takes, for these outputs."""
        return targets

    def __repr__(self) -> str:
        loss = "" if self.own_loss is None else f", loss={self.own_loss!r}"
        return f"{type(self).__name__}(outputs={self.outputs}{loss})"


class Score(Metric):
    """The score of a task over all batches and ranks, as a torchmetrics metric.

    Args:
        task: The task, whose `sums` are added up.
    """

    sums: Tensor
    samples: Tensor
    full_state_update = False
    higher_is_better = True

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task
        self.add_state("sums", torch.zeros(task.width, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        self.sums = self.sums + self._task.sums(outputs, targets).to(self.sums)
        self.samples = self.samples + len(targets)

    def compute(self) -> Tensor:
        """Return the score of all batches so far."""
        return torch.tensor(self._task.score(self.sums.tolist(), float(self.samples)), device=self.samples.device)


def float_targets(task: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return targets of one number per output as floating-point numbers in the shape of the outputs.

    Raises:
        ValueError: the number of targets differs from that of the outputs.
    """
    if targets.shape == outputs.shape:
        return targets if targets.is_floating_point() else targets.to(outputs.dtype)
    if targets.numel() != outputs.numel():
        raise ValueError(
            f"task = {task}: needs a target for each output, but targets have shape {tuple(targets.shape)} and outputs "
            f"{tuple(outputs.shape)}; must agree, see task.outputs"
        )
    return targets.reshape(outputs.shape).to(outputs.dtype)


def declared(datamodule: Any, *names: str) -> int | None:
    """Return the first of these attributes of a datamodule that is a whole number of at least 1; None without one."""
    for name in names:
        value = getattr(datamodule, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
    return None
