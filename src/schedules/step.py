"""The learning rate falls by a factor every few epochs."""

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule, Share, Steps
from start_training.settings import PositiveNumber, checked


class Step(Schedule):
    """factor^⌊k / n⌋ at step k, n = max(1, round(every_epochs · steps_per_epoch)). A run may be extended.

    Args:
        optimizer: Its learning rate is the largest.
        steps_per_epoch: Optimizer steps in an epoch of the run.
        every_epochs: Epochs at a constant rate.
        factor: By which the rate is then multiplied, above 0 and at most 1.

    Raises:
        ValueError: a setting is not allowed.
    """

    @checked
    def __init__(
        self, optimizer: Optimizer, *, steps_per_epoch: Steps, every_epochs: PositiveNumber, factor: Share
    ) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.every_epochs = every_epochs
        self.factor = factor
        self._every = max(1, round(every_epochs * steps_per_epoch))
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        return self.factor ** (step // self._every)
