"""Cyclical learning rate: up and down between two rates, cycle after cycle."""

from collections.abc import Sequence

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule, length, momentum_pair, share
from start_training.settings import positive_number


class Triangular(Schedule):
    """Linear from `start` to 1 and back in every cycle of `cycle_epochs`; momentum goes the other way.

    Both legs have max(1, round(cycle_epochs · steps per epoch / 2)) steps, so that every peak is exactly on a step.
    The run may end in mid-cycle, and be extended. Source: Smith 2015 (arXiv:1506.01186), "triangular".
    Raises ValueError for a cycle that is longer than the run, and settings no run could use.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        total_steps: float,
        steps_per_epoch: float,
        cycle_epochs: float = 2,
        start: float = 0.1,
        momentum: Sequence[float] | None = (0.95, 0.85),
    ) -> None:
        self.steps_per_epoch = length("steps_per_epoch", steps_per_epoch)
        self.cycle_epochs = positive_number("cycle_epochs", cycle_epochs)
        self.start = share("start", start)
        self.momentum = momentum_pair(momentum)
        if cycle_epochs * self.steps_per_epoch > total_steps:
            epochs = total_steps / self.steps_per_epoch
            raise ValueError(f"cycle_epochs = {cycle_epochs}: longer than the run, which has {epochs:g}")
        self._leg = max(1, round(cycle_epochs * self.steps_per_epoch / 2))
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        return self._between(self.start, 1.0, step)

    def momentum_at(self, step: int) -> float | None:
        return None if self.momentum is None else self._between(*self.momentum, step)

    def _between(self, low: float, high: float, step: int) -> float:
        """`low` at a cycle's ends and `high` amid it."""
        from_peak = abs(step % (2 * self._leg) - self._leg) / self._leg
        return high + (low - high) * from_peak if from_peak < 1 else low
