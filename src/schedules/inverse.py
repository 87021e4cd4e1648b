"""Caffe's `inv`: the rate decays as a power of the step."""

from torch.optim import Optimizer

from start_training.schedules.schedule import Schedule
from start_training.settings import number_from_zero, positive_number


class Inverse(Schedule):
    """(1 + gamma k)^(−power) at step k, whatever the run's length: it may be extended.

    Source: Caffe's learning-rate policy "inv", with which its LeNet example trains; a decaying rate of
    Smith 2018 (arXiv:1803.09820). Raises ValueError for settings no run could use.
    """

    def __init__(self, optimizer: Optimizer, *, gamma: float = 1e-4, power: float = 0.75) -> None:
        self.gamma = positive_number("gamma", gamma)
        self.power = number_from_zero("power", power)
        super().__init__(optimizer)

    def share(self, step: int) -> float:
        return (1 + self.gamma * step) ** -self.power
