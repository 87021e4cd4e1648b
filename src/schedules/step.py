"""A learning rate that is multiplied by a constant factor every few epochs."""

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule, Share, Steps
from start_training.settings import PositiveNumber, checked


class Step(Schedule):
    """Step schedule: the rate is multiplied by `factor` every `every_epochs` epochs.

    At step k the rate is lr · factor^⌊k / n⌋ with n = max(1, round(every_epochs · steps_per_epoch)). It does not
    depend on the length of the run, so that a run may be extended.

    Args:
        optimizer: The optimizer; its learning rate lr is the first and largest rate.
        steps_per_epoch: Number of optimizer steps in an epoch.
        every_epochs: Number of epochs between two changes of the rate.
        factor: Factor of each change, above 0 and at most 1.

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
