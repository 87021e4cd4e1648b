"""1cycle: one rise of the rate, an equal fall, then annihilation; momentum goes the other way."""

from collections.abc import Sequence

from torch.optim import Optimizer

from start_training.schedules.schedule import (
    Corners,
    Schedule,
    interpolate,
    length,
    momentum_pair,
    share,
    share_from_zero,
)


class OneCycle(Schedule):
    """Linear from `start` to 1 and, in as many steps, back; then linear to `end` at the last step.

    cycle: the two legs' share of the run. Each has L = round(cycle (T − 1) / 2) steps, at least one and leaving
    one for the annihilation, so that the peak is exactly on step L. Of T = 3 steps the last is both the end of the
    fall and `end`; of T = 2 the first is the peak; of T = 1 it is all there is.
    momentum: falls from the first value to the second as the rate rises, rises as it falls, and stays up.

    Not torch's OneCycleLR(three_phase=True): its peak is at pct_start T − 1, mostly between two steps (at pct_start =
    0.45 it is missed by 475 of the lengths 1 … 500), it divides by zero where that is 0, and it ends far above its
    last rate where pct_start > 1/2.
    Source: Smith 2018 (arXiv:1803.09820), section 2: from max/10 to max and back in somewhat less than the run, then
    several orders of magnitude below. Raises ValueError for settings no run could use.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        total_steps: int,
        start: float = 0.1,
        cycle: float = 0.9,
        end: float = 1e-4,
        momentum: Sequence[float] | None = (0.95, 0.85),
    ) -> None:
        self.total_steps = length("total_steps", total_steps)
        self.start, self.end = share("start", start), share_from_zero("end", end)
        self.cycle = _share_of_run(cycle)
        self.momentum = momentum_pair(momentum)
        self._shares = one_cycle(self.total_steps, self.cycle, (self.start, 1.0, self.start), self.end)
        low, high = self.momentum or (0.0, 0.0)
        self._momenta = one_cycle(self.total_steps, self.cycle, (low, high, low), low)
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        return interpolate(self._shares, step)

    def momentum_at(self, step: int) -> float | None:
        return None if self.momentum is None else interpolate(self._momenta, step)


def one_cycle(steps: int, cycle: float, legs: tuple[float, float, float], end: float) -> Corners:
    """The corners (step, value) of a cycle through the values `legs`, and of what follows it up to the last step."""
    first, peak, back = legs
    if steps <= 2:
        return [(0, peak), (1, end)]
    leg = max(1, min(round(cycle * (steps - 1) / 2), (steps - 2) // 2))
    corners = [(0, first), (leg, peak), (2 * leg, back), (steps - 1, end)]
    return corners if 2 * leg < steps - 1 else [*corners[:2], (steps - 1, end)]


def _share_of_run(cycle: float) -> float:
    try:
        return share("cycle", cycle)
    except ValueError:
        raise ValueError(f"cycle = {cycle!r}: must be the cycle's share of the run, above 0 and at most 1") from None
