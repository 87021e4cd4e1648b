"""Cosine annealing of the learning rate over the whole run, without restarts, and with a warm-up if asked."""

import math

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule, ShareFromZero, Steps
from start_training.settings import Fraction, checked


class Cosine(Schedule):
    """Cosine schedule: the rate falls from lr to `end` · lr at the last step, after a linear rise in a warm-up.

    Of T steps, the warm-up has W = round(warmup · T), in which step k has the rate lr · (k + 1) / (W + 1). Then
    k = W, …, T − 1 has lr · (end + (1 − end) (1 + cos(π (k − W) / (T − 1 − W))) / 2).
    Source: Loshchilov & Hutter 2017 (arXiv:1608.03983), without restarts.

    Args:
        optimizer: The optimizer; its learning rate lr is the first and largest rate.
        total_steps: T, the number of optimizer steps in the run.
        end: Rate of the last step divided by lr.
        warmup: Fraction of the run in which the rate rises, from 0 to below 1.

    Raises:
        ValueError: a setting is not allowed.
    """

    @checked
    def __init__(
        self, optimizer: Optimizer, *, total_steps: Steps, end: ShareFromZero = 1e-4, warmup: Fraction = 0.0
    ) -> None:
        self.total_steps = total_steps
        self.end = end
        self.warmup = warmup
        self._rise = round(warmup * total_steps)
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        if step < self._rise:
            return (step + 1) / (self._rise + 1)
        done = min(1.0, (step - self._rise) / max(1, self.total_steps - 1 - self._rise))
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * done)) / 2
