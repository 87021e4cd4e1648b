"""Learning rate and momentum of every optimizer step, as functions of the step number."""

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
    """The constraint of `Annotated[float, ShareOf("a share of the run")]`: a number above 0 and at most 1.

    Args:
        what: How the error message names such a number.
        or_zero: Whether 0 is allowed as well.
    """

    what: str = "a share of optimizer.lr"
    or_zero: bool = False

    def __call__(self, name: str, value: object) -> float:
        allowed = isinstance(value, int | float) and (0 < value <= 1 or (self.or_zero and value == 0))
        if not allowed or isinstance(value, bool):
            least = "at least 0" if self.or_zero else "above 0"
            raise ValueError(f"{name} = {value!r}: must be {self.what}, {least} and at most 1")
        return number_from_zero(name, value)


def known_steps(name: str, value: object) -> int:
    """A number of steps, whole. Raises ValueError for a run without an end, whose length is infinite, or below 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise ValueError(f"{name} = {value!r}: must be known here; set trainer.max_epochs, or trainer.max_steps")
    return int(value)


def momentum_pair(name: str, value: object) -> tuple[float, float] | None:
    """The momenta at the lowest and at the largest rate: both in [0, 1), the first not below the second; or None."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(f"{name} = {value!r}: must be two numbers, at the lowest and at the largest rate, or null")
    low, high = (fraction(name, momentum) for momentum in value)
    if low < high:
        raise ValueError(f"{name} = {value!r}: must be no lower at the lowest rate, which comes first")
    return low, high


Share = Annotated[float, ShareOf()]
ShareFromZero = Annotated[float, ShareOf(or_zero=True)]
Steps = Annotated[float, known_steps]
Momenta = Annotated[tuple[float, float] | None, momentum_pair]


class Schedule(LambdaLR, ABC):
    """Step k = 0, 1, … runs at share(k) · lr, for each parameter group's learning rate lr, which is its largest.

    To write a schedule, subclass this: define `share`, perhaps `momentum_at`, and a constructor that stores its
    settings as attributes of the same names and then calls this constructor. Constructor parameters named
    `total_steps` and `steps_per_epoch` are filled in with the numbers of the run. Since rate and momentum depend on
    k only, they are exact at every step, also in a run that resumes.

    Attributes:
        momentum: (at the lowest rate, at the largest rate), or None, which leaves the optimizer's. It is `momentum`
            of SGD and similar optimizers, and `betas[0]` of Adam and similar ones.

    Raises:
        ValueError: `momentum` is set, and the optimizer has none.

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
                f"momentum = {list(self.momentum)}: {type(optimizer).__name__} has none to cycle; null leaves it out"
            )
        super().__init__(optimizer, self.share)

    @abstractmethod
    def share(self, step: int) -> float:
        """The learning rate of a step, divided by the largest one."""

    def momentum_at(self, step: int) -> float | None:
        """The momentum of a step; None leaves the optimizer's unchanged."""
        return None

    def step(self, epoch: int | None = None) -> None:
        """Set rate and momentum of the next step; to be called after the optimizer's step."""
        super().step(epoch)
        momentum = self.momentum_at(self.last_epoch)
        if momentum is not None:
            for group in self.optimizer.param_groups:
                set_momentum(group, momentum)

    def state_dict(self) -> dict[str, Any]:
        """Plain data: the schedule's class, its settings, and the number of the current step."""
        names = [name for name in inspect.signature(type(self)).parameters if name in vars(self)]
        settings = {name: getattr(self, name) for name in names if name not in ("optimizer", "momentum")}
        momentum = None if self.momentum is None else list(self.momentum)
        return {"schedule": type(self).__name__, "last_epoch": self.last_epoch, **settings, "momentum": momentum}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the step of `state_dict`, with the settings of this object.

        Rate and momentum of that step are in the optimizer's own state.
        """
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        self._last_lr = [rate * self.share(self.last_epoch) for rate in self.base_lrs]


def momentum_of(group: dict[str, Any]) -> float | None:
    """The momentum of an optimizer's parameter group: SGD's `momentum`, or Adam's beta1; None without either."""
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Set the momentum of an optimizer's parameter group in place."""
    if "momentum" in group:
        group["momentum"] = momentum
    else:
        group["betas"] = (momentum, *group["betas"][1:])


def interpolate(corners: Corners, step: int) -> float:
    """The value at a step of the piecewise linear function through `corners`, which stays constant after the last.

    Args:
        corners: (step, value) by increasing step. The value at each of these steps is exact.
        step: At or after the first corner's step.

    Example:
        >>> interpolate([(0, 1.0), (10, 3.0)], 5)
        2.0
    """
    after = bisect_right(corners, step, key=lambda corner: corner[0])
    if after == len(corners):
        return corners[-1][1]
    (first, start), (last, end) = corners[after - 1 : after + 1]
    return start + (end - start) * ((step - first) / (last - first))
