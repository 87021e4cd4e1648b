"""The 1cycle schedule: the learning rate rises, falls back in as many steps, then decays to almost zero."""

from typing import Annotated

from torch.optim import Optimizer

from start_training.schedules.schedule import (
    Corners,
    Momenta,
    Schedule,
    Share,
    ShareFromZero,
    ShareOf,
    interpolate,
    known_steps,
)
from start_training.settings import checked


class OneCycle(Schedule):
    """1cycle schedule: the rate rises linearly from `start` · lr to lr, falls back, then decays to `end` · lr.

    In a run of T steps, the rise and the fall have L = round(cycle (T − 1) / 2) steps each (at least one, and at least
    one step remains for the decay), so that the peak is exactly on step L. For T = 3 the last step is at `end`; for
    T = 2 the first step is at the peak and the second at `end`; for T = 1 the only step is at the peak.
    Momentum falls from its first value to its second as the rate rises, rises back as the rate falls, and then stays.

    `torch.optim.lr_scheduler.OneCycleLR(three_phase=True)` differs: its peak is at pct_start · T − 1, which is mostly
    between two steps (for pct_start = 0.45, no step reaches the peak for 475 of the run lengths 1 … 500); it divides by
    zero if that is 0; and for pct_start > 1/2 the run ends far above the final rate.
    Source: Smith 2018 (arXiv:1803.09820), section 2: the rate goes from max/10 to max and back in somewhat less than
    the run, then falls several orders of magnitude.

    Args:
        optimizer: The optimizer; its learning rate lr is the peak rate.
        total_steps: T, the number of optimizer steps in the run.
        start: Rate of the first step divided by lr.
        cycle: Fraction of the run in which the rate rises and falls back.
        end: Rate of the last step divided by lr.
        momentum: Momenta at the lowest rate and at the peak rate; None does not change the momentum of the optimizer.

    Raises:
        ValueError: a setting is not allowed.
    """

    @checked
    def __init__(
        self,
        optimizer: Optimizer,
        *,
        total_steps: Annotated[int, known_steps],
        start: Share = 0.1,
        cycle: Annotated[float, ShareOf("a fraction of the run")] = 0.9,
        end: ShareFromZero = 1e-4,
        momentum: Momenta = (0.95, 0.85),
    ) -> None:
        self.total_steps = total_steps
        self.start, self.end = start, end
        self.cycle = cycle
        self.momentum = momentum
        self._shares = one_cycle(total_steps, cycle, low=start, peak=1.0, end=end)
        low, high = momentum or (0.0, 0.0)
        self._momenta = one_cycle(total_steps, cycle, low=low, peak=high, end=low)
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        return interpolate(self._shares, step)

    def momentum_at(self, step: int) -> float | None:
        return None if self.momentum is None else interpolate(self._momenta, step)


def one_cycle(steps: int, cycle: float, *, low: float, peak: float, end: float) -> Corners:
    """Return the corners (step, value) of a linear cycle from `low` to `peak` and back, then to `end`.

    Args:
        steps: Number of steps; the last corner is at step `steps` − 1 for more than two steps.
        cycle: Fraction of the steps in which the value goes to `peak` and back.
        low: Value at both ends of the cycle.
        peak: Value in the middle of the cycle.
        end: Value at the last step.
    """
    if steps <= 2:
        return [(0, peak), (1, end)]
    leg = max(1, min(round(cycle * (steps - 1) / 2), (steps - 2) // 2))
    corners = [(0, low), (leg, peak), (2 * leg, low), (steps - 1, end)]
    return corners if 2 * leg < steps - 1 else [*corners[:2], (steps - 1, end)]
