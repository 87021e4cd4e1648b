"""Cosine annealing of the learning rate over the whole run, without restarts."""

import math

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule, ShareFromZero, Steps
from start_training.settings import checked


class Cosine(Schedule):
    """Cosine schedule: the rate falls from lr at the first step to `end` · lr at the last.

    At step k of T it is lr · (end + (1 − end) (1 + cos(π k / (T − 1))) / 2).
    Source: Loshchilov & Hutter 2017 (arXiv:1608.03983), without restarts.

    Args:
        optimizer: The optimizer; its learning rate lr is the first and largest rate.
        total_steps: T, the number of optimizer steps in the run.
        end: Rate of the last step divided by lr.

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
