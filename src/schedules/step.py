"""The rate falls by a factor every so many epochs."""

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule, length, share
from start_training.settings import positive_number


class Step(Schedule):
    """factor^⌊k / n⌋ at step k, n = max(1, round(every_epochs · steps per epoch)). A run may be extended.

    Raises ValueError for settings no run could use.
    """

    def __init__(self, optimizer: Optimizer, *, steps_per_epoch: float, every_epochs: float, factor: float) -> None:
        self.steps_per_epoch = length("steps_per_epoch", steps_per_epoch)
        self.every_epochs = positive_number("every_epochs", every_epochs)
        self.factor = share("factor", factor)
        self._every = max(1, round(self.every_epochs * self.steps_per_epoch))
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        return self.factor ** (step // self._every)
