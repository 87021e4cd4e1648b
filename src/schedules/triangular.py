"""The triangular cyclical learning rate, which rises and falls linearly between two rates in every cycle."""

from torch.optim import Optimizer

from start_training.schedules.schedule import Momenta, Schedule, Share, Steps
from start_training.settings import PositiveNumber, checked


class Triangular(Schedule):
    """Cyclical schedule: in every cycle the rate rises linearly from `start` · lr to lr and falls back.

    Momentum moves in the opposite direction. Each half of a cycle has max(1, round(cycle_epochs · steps_per_epoch / 2))
    steps, so that every peak is exactly on a step. The run may end in the middle of a cycle, and may be extended.
    Source: Smith 2015 (arXiv:1506.01186), policy "triangular".

    Args:
        optimizer: The optimizer; its learning rate lr is the peak rate.
        total_steps: Number of optimizer steps in the run.
        steps_per_epoch: Number of optimizer steps in an epoch.
        cycle_epochs: Length of a cycle in epochs, at most the length of the run.
        start: Lowest rate divided by the peak rate.
        momentum: Momenta at the lowest rate and at the peak rate; None does not change the momentum of the optimizer.

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
            raise ValueError(f"cycle_epochs = {cycle_epochs:g}: must be at most {epochs:g}, the epochs of the run")
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
        """Return the value at a step, linear from `low` at both ends of a cycle to `high` in its middle."""
        from_peak = abs(step % (2 * self._leg) - self._leg) / self._leg
        return high + (low - high) * from_peak if from_peak < 1 else low
