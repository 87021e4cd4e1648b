"""Half a cosine wave from the largest rate down to the last."""

import math

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule, length, share_from_zero


class Cosine(Schedule):
    """end + (1 − end) (1 + cos(π k / (T − 1))) / 2 at step k of T: 1 at the first, `end` at the last.

    Source: Loshchilov & Hutter 2017 (arXiv:1608.03983), without restarts.
    Raises ValueError for settings no run could use.
    """

    def __init__(self, optimizer: Optimizer, *, total_steps: float, end: float = 1e-4) -> None:
        self.total_steps = length("total_steps", total_steps)
        self.end = share_from_zero("end", end)
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        done = min(1.0, step / max(1, self.total_steps - 1))
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * done)) / 2
