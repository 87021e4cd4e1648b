"""The learning rate and momentum of every optimizer step, as functions of the step alone."""

import inspect
import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from start_training.settings import fraction, number_from_zero, positive_number

Corners = Sequence[tuple[int, float]]


class Schedule(LambdaLR, ABC):
    """Step k = 0, 1, … runs at share(k) of each parameter group's own rate, which is its largest.

    A schedule of one's own is a class with `share`, perhaps `momentum_at`, and a constructor that notes its
    settings under their own names and then calls this one; parameters named `total_steps` and `steps_per_epoch`
    are given the run's. Being functions of k alone, both are exact at every step and on resuming.
    momentum: (at the lowest, at the largest rate), or None: the optimizer's own. It is `momentum` of SGD and
    its like, `betas[0]` of Adam and its like.
    Raises ValueError for an optimizer that has neither.
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
        """The rate of a step, over the largest."""

    def momentum_at(self, step: int) -> float | None:
        """The momentum of a step; None leaves the optimizer's."""
        return None

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next step: called after the optimizer's."""
        super().step(epoch)
        momentum = self.momentum_at(self.last_epoch)
        if momentum is not None:
            for group in self.optimizer.param_groups:
                set_momentum(group, momentum)

    def state_dict(self) -> dict[str, Any]:
        """Plain data: which schedule this is, its settings, and the step it has come to."""
        settings = [name for name in inspect.signature(type(self)).parameters if name in vars(self)]
        plain = {name: getattr(self, name) for name in settings if name not in ("optimizer", "momentum")}
        momentum = None if self.momentum is None else list(self.momentum)
        return {"schedule": type(self).__name__, "last_epoch": self.last_epoch, **plain, "momentum": momentum}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Come to the step of the state; the settings stay these. The optimizer's state has its rate and momentum."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        self._last_lr = [rate * self.share(self.last_epoch) for rate in self.base_lrs]


def momentum_of(group: dict[str, Any]) -> float | None:
    """A parameter group's momentum: SGD's or Adam's beta1; None where there is none."""
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Give a parameter group another momentum, in place."""
    if "momentum" in group:
        group["momentum"] = momentum
    else:
        group["betas"] = (momentum, *group["betas"][1:])


def interpolate(corners: Corners, step: int) -> float:
    """Linear between corners (step, value) of increasing step, exact on them, constant past the last."""
    after = bisect_right(corners, step, key=lambda corner: corner[0])
    if after == len(corners):
        return corners[-1][1]
    (first, start), (last, end) = corners[after - 1 : after + 1]
    return start + (end - start) * ((step - first) / (last - first))


def share(name: str, value: object) -> float:
    """A setting in (0, 1]."""
    if positive_number(name, value) > 1:
        raise ValueError(f"{name} = {value!r}: must be a share of optimizer.lr, above 0 and at most 1")
    return positive_number(name, value)


def share_from_zero(name: str, value: object) -> float:
    """A setting in [0, 1]."""
    if number_from_zero(name, value) > 1:
        raise ValueError(f"{name} = {value!r}: must be a share of optimizer.lr, at least 0 and at most 1")
    return number_from_zero(name, value)


def momentum_pair(value: Sequence[float] | None) -> tuple[float, float] | None:
    """The momenta at the lowest and at the largest rate: both in [0, 1), and the first not below the second."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(f"momentum = {value!r}: must be two numbers, at the lowest and at the largest rate, or null")
    low, high = (fraction("momentum", each) for each in value)
    if low < high:
        raise ValueError(f"momentum = {value!r}: must be no lower at the lowest rate, which comes first")
    return low, high


def length(name: str, value: float) -> int:
    """`total_steps` or `steps_per_epoch`, whole. Raises ValueError where a run has no end, or no epochs."""
    if not 1 <= value < math.inf:
        raise ValueError(f"{name} = {value}: must be known here; set trainer.max_epochs, or trainer.max_steps")
    return int(value)
