"""1cycle: the learning rate rises, falls back in as many steps, then decays to almost zero."""

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
    """The share rises linearly from `start` to 1, falls back in as many steps, then to `end` at the last step.

    Of T steps, rise and fall have L = round(cycle (T − 1) / 2) steps each, at least one and leaving one for the last
    decay, so that the peak is exactly on step L. Of T = 3 steps the last one both completes the fall and is at `end`;
    of T = 2 the first is at the peak; the step of T = 1 is at the peak.
    Momentum falls from the first value to the second as the rate rises, rises as it falls, and then stays.

    This is not torch's OneCycleLR(three_phase=True): its peak is at pct_start T − 1, mostly between two steps (at
    pct_start = 0.45 no step reaches it for 475 of the run lengths 1 … 500); it divides by zero where that is 0; and
    where pct_start > 1/2 the run ends far above its last rate.
    Source: Smith 2018 (arXiv:1803.09820), section 2: from max/10 to max and back in somewhat less than the run, then
    several orders of magnitude below.

    Args:
        optimizer: Its learning rate is the largest.
        total_steps: T, the optimizer steps of the run.
        start: The first step's rate, as a share of the largest.
        cycle: The share of the run in which the rate rises and falls.
        end: The last step's rate, as a share of the largest.
        momentum: At the lowest and at the largest rate; None leaves the optimizer's.

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
        cycle: Annotated[float, ShareOf("the cycle's share of the run")] = 0.9,
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
    """The corners (step, value) of a cycle from `low` to `peak` and back, then to `end` at the last of `steps`."""
    if steps <= 2:
        return [(0, peak), (1, end)]
    leg = max(1, min(round(cycle * (steps - 1) / 2), (steps - 2) // 2))
    corners = [(0, low), (leg, peak), (2 * leg, low), (steps - 1, end)]
    return corners if 2 * leg < steps - 1 else [*corners[:2], (steps - 1, end)]
