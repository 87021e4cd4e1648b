"""The learning-rate policy `inv` of Caffe, in which the rate decays as a power of the step."""

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule
from start_training.settings import NumberFromZero, PositiveNumber, checked


class Inverse(Schedule):
    """Inverse decay: the rate at step k is lr · (1 + gamma k)^(−power).

    It does not depend on the length of the run, so that a run may be extended.
    Source: the learning-rate policy "inv" of Caffe, used in its LeNet example; Smith 2018 (arXiv:1803.09820) compares
    1cycle with it.

    Args:
        optimizer: The optimizer; its learning rate lr is the first and largest rate.
        gamma: Decay per step, in 1 / steps.
        power: Exponent of the decay; 0 gives a constant rate.

    Raises:
        ValueError: a setting is not allowed.
    """

    @checked
    def __init__(self, optimizer: Optimizer, *, gamma: PositiveNumber = 1e-4, power: NumberFromZero = 0.75) -> None:
        self.gamma = gamma
        self.power = power
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        return (1 + self.gamma * step) ** -self.power
