"""Cyclical learning rate: up and down between two rates, cycle after cycle."""

from torch.optim import Optimizer

from start_training.schedules.schedule import Momenta, Schedule, Share, Steps
from start_training.settings import PositiveNumber, checked


class Triangular(Schedule):
    """The share rises linearly from `start` to 1 and falls back in every cycle; momentum goes the other way.

    Both halves of a cycle have max(1, round(cycle_epochs · steps_per_epoch / 2)) steps, so that every peak is exactly
    on a step. The run may end in the middle of a cycle, and may be extended.
    Source: Smith 2015 (arXiv:1506.01186), "triangular".

    Args:
        optimizer: Its learning rate is the largest.
        total_steps: Optimizer steps of the run.
        steps_per_epoch: Optimizer steps in an epoch of the run.
        cycle_epochs: Epochs in a cycle, at most those of the run.
        start: The lowest rate, as a share of the largest.
        momentum: At the lowest and at the largest rate; None leaves the optimizer's.

    Raises:
        ValueError: a setting is not allowed, or a cycle is longer than the run.
    """

    @checked
    def __init__(
        self,
        optimizer: Optimizer,
        *,
        total_steps: float,
        steps_per_epoch: Steps,
        cycle_epochs: PositiveNumber = 2,
        start: Share = 0.1,
        momentum: Momenta = (0.95, 0.85),
    ) -> None:
        if cycle_epochs * steps_per_epoch > total_steps:
            epochs = total_steps / steps_per_epoch
            raise ValueError(f"cycle_epochs = {cycle_epochs:g}: longer than the run, which has {epochs:g}")
        self.steps_per_epoch = steps_per_epoch
        self.cycle_epochs = cycle_epochs
        self.start = start
        self.momentum = momentum
        self._leg = max(1, round(cycle_epochs * steps_per_epoch / 2))
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        return self._between(self.start, 1.0, step)

    def momentum_at(self, step: int) -> float | None:
        return None if self.momentum is None else self._between(*self.momentum, step)

    def _between(self, low: float, high: float, step: int) -> float:
        """Linear from `low` at both ends of a cycle to `high` in its middle."""
        from_peak = abs(step % (2 * self._leg) - self._leg) / self._leg
        return high + (low - high) * from_peak if from_peak < 1 else low
