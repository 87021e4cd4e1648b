"""The base class of learning-rate and momentum schedules, and the constraints of their settings."""

import inspect
import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from start_training.settings import fraction, number_from_zero

Corners = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class ShareOf:
    """Constraint of a setting: a number above 0 and at most 1, as in `Annotated[float, ShareOf("a fraction of …")]`.

    Args:
        what: Description of the number in the error message.
        or_zero: Whether 0 is allowed as well.
    """

    what: str = "a fraction of optimizer.lr"
    or_zero: bool = False

    def __call__(self, name: str, value: object) -> float:
        allowed = isinstance(value, int | float) and (0 < value <= 1 or (self.or_zero and value == 0))
        if not allowed or isinstance(value, bool):
            least = "at least 0" if self.or_zero else "above 0"
            raise ValueError(f"{name} = {value!r}: must be {self.what}, {least} and at most 1")
        return number_from_zero(name, value)


def known_steps(name: str, value: object) -> int:
    """Return a number of steps as an integer; raise ValueError if it is below 1, or infinite (a run without an end)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise ValueError(
            f"{name} = {value!r}: must be finite and at least 1, since this schedule depends on the length of the run; "
            "set trainer.max_epochs, or trainer.max_steps for data without a length"
        )
    return int(value)


def momentum_pair(name: str, value: object) -> tuple[float, float] | None:
    """Return the momenta (at the lowest rate, at the largest rate), or None for None.

    Raises:
        ValueError: the value is not a pair of numbers in [0, 1), or its first number is below its second.
    """
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(
            f"{name} = {value!r}: must be two numbers [at the lowest rate, at the largest rate], or null to keep the "
            "momentum of the optimizer"
        )
    low, high = (fraction(name, momentum) for momentum in value)
    if low < high:
        raise ValueError(
            f"{name} = {value!r}: the first number (at the lowest rate) must be at least the second (at the largest)"
        )
    return low, high


Share = Annotated[float, ShareOf()]
ShareFromZero = Annotated[float, ShareOf(or_zero=True)]
Steps = Annotated[float, known_steps]
Momenta = Annotated[tuple[float, float] | None, momentum_pair]


class Schedule(LambdaLR, ABC):
    """Base class of schedules: step k = 0, 1, … has the learning rate share(k) · lr in each parameter group.

    lr is the learning rate that the parameter group has at construction; it is the largest rate of the schedule.
    To write a schedule, subclass `Schedule` and define `share`, optionally `momentum_at`, and a constructor that stores
    its settings as attributes of the same names and then calls `super().__init__(optimizer)`. Constructor parameters
    named `total_steps` and `steps_per_epoch` are filled in with the numbers of the run. Rate and momentum are functions
    of k only, so that they are exact at every step, also in a resumed run.

    Args:
        optimizer: The optimizer whose learning rate and momentum the schedule sets.

    Attributes:
        momentum: Momenta (at the lowest rate, at the largest rate), or None to keep the momentum of the optimizer.
            Momentum is the setting `momentum` of SGD and similar optimizers, and `betas[0]` of Adam and similar ones.

    Raises:
        ValueError: `momentum` is set, and the optimizer has no momentum.

    Example:
        >>> from torch import nn, optim
        >>> class Warmup(Schedule):
        ...     def __init__(self, optimizer, *, total_steps):
        ...         self.total_steps = total_steps
        ...         super().__init__(optimizer)
        ...     def share(self, step):
        ...         return min(1.0, (step + 1) / (0.25 * self.total_steps))
        >>> schedule = Warmup(optim.SGD(nn.Linear(2, 2).parameters(), lr=0.8), total_steps=16)
        >>> schedule.get_last_lr(), schedule.share(1), schedule.share(9)
        ([0.2], 0.5, 1.0)
    """

    momentum: tuple[float, float] | None = None

    def __init__(self, optimizer: Optimizer) -> None:
        if self.momentum is not None and momentum_of(optimizer.param_groups[0]) is None:
            raise ValueError(
                f"momentum = {list(self.momentum)}: {type(optimizer).__name__} has no momentum; "
                "type schedule.momentum=null"
            )
        super().__init__(optimizer, self.share)

    @abstractmethod
    def share(self, step: int) -> float:
        """Return the learning rate of a step divided by the largest learning rate, in [0, 1]."""

    def momentum_at(self, step: int) -> float | None:
        """Return the momentum of a step, or None to leave the momentum of the optimizer unchanged."""
        return None

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rate and momentum of the next step; call it after `optimizer.step()`."""
        super().step(epoch)
        momentum = self.momentum_at(self.last_epoch)
        if momentum is not None:
            for group in self.optimizer.param_groups:
                set_momentum(group, momentum)

    def state_dict(self) -> dict[str, Any]:
        """Return the class name of the schedule, its settings and the number of the current step, as plain data."""
        names = [name for name in inspect.signature(type(self)).parameters if name in vars(self)]
        settings = {name: getattr(self, name) for name in names if name not in ("optimizer", "momentum")}
        momentum = None if self.momentum is None else list(self.momentum)
        return {"schedule": type(self).__name__, "last_epoch": self.last_epoch, **settings, "momentum": momentum}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at the step of `state_dict`, keeping the settings of this object.

        The learning rate and momentum of that step are restored with the state of the optimizer.
        """
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        self._last_lr = [rate * self.share(self.last_epoch) for rate in self.base_lrs]


def momentum_of(group: dict[str, Any]) -> float | None:
    """Return the momentum of a parameter group: its `momentum`, or else `betas[0]`; None if it has neither."""
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Set the momentum (`momentum` or `betas[0]`) of a parameter group of an optimizer in place."""
    if "momentum" in group:
        group["momentum"] = momentum
    else:
        group["betas"] = (momentum, *group["betas"][1:])


def interpolate(corners: Corners, step: int) -> float:
    """Return the value at a step of the piecewise linear function through `corners`.

    The function is constant after the last corner.

    Args:
        corners: Pairs (step, value), by increasing step. The value at each corner is exact.
        step: The step, not before the first corner.

    Example:
        >>> interpolate([(0, 1.0), (10, 3.0)], 5)
        2.0
    """
    after = bisect_right(corners, step, key=lambda corner: corner[0])
    if after == len(corners):
        return corners[-1][1]
    (first, start), (last, end) = corners[after - 1 : after + 1]
    return start + (end - start) * ((step - first) / (last - first))
