"""Caffe's learning-rate policy `inv`: the rate decays as a power of the step."""

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule
from start_training.settings import NumberFromZero, PositiveNumber, checked


class Inverse(Schedule):
    """(1 + gamma k)^(−power) at step k. It does not depend on the run's length, so that a run may be extended.

    Source: Caffe's learning-rate policy "inv", with which its LeNet example trains; the decaying rate that
    Smith 2018 (arXiv:1803.09820) compares with.

    Args:
        optimizer: Its learning rate is the largest.
        gamma: In 1 / steps.
        power: 0 is a constant rate.

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
