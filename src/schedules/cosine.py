"""Half a cosine wave from the largest learning rate down to the last."""

import math

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule, ShareFromZero, Steps
from start_training.settings import checked


class Cosine(Schedule):
    """end + (1 − end) (1 + cos(π k / (T − 1))) / 2 at step k of T: 1 at the first step, `end` at the last.

    Source: Loshchilov & Hutter 2017 (arXiv:1608.03983), without restarts.

    Args:
        optimizer: Its learning rate is the largest.
        total_steps: T, the optimizer steps of the run.
        end: The last step's rate, as a share of the largest.

    Raises:
        ValueError: a setting is not allowed.
    """

    @checked
    def __init__(self, optimizer: Optimizer, *, total_steps: Steps, end: ShareFromZero = 1e-4) -> None:
        self.total_steps = total_steps
        self.end = end
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        done = min(1.0, step / max(1, self.total_steps - 1))
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * done)) / 2
