"""Weights by the coordinates of a layer's phase diagram."""

import math

from torch import Generator, Tensor

from start_training.initializers.initializer import Fans
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.settings import positive_number


class Phase(VarianceScaling):
    """W ~ N(J0/N, J²/N), N the fan-in, and zero biases: a layer at (J0, J), at the edge of chaos for J0 = 0, J = 1.

    Variance and kurtosis are those about the mean. With J0 = 0 the law is symmetric and `kappa` is J²; with any other
    J0 it is not, and the laws of src/theory, which are those of symmetric weights, say nothing of it.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), who draw their square layer with J0 = 0 and J = 0.5.
    Raises ValueError for a J that is not positive.
    """

    def __init__(self, J0: float = 0.0, J: float = 0.5) -> None:
        if isinstance(J0, bool) or not isinstance(J0, int | float) or not math.isfinite(J0):
            raise ValueError(f"J0 = {J0!r}: must be a number")
        self.J0 = float(J0)
        self.J = positive_number("J", J)
        super().__init__(self.J**2)
        self.symmetric = self.J0 == 0

    def _fill_(self, weight: Tensor, fans: Fans, generator: Generator | None) -> None:
        super()._fill_(weight, fans, generator)
        weight.add_(self.J0 / fans.fan_in)

    def __repr__(self) -> str:
        return f"Phase(J0={self.J0:g}, J={self.J:g})"
