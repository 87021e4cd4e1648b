"""Weights by the coordinates of a layer in the phase diagram of order and chaos."""

import math

from torch import Generator, Tensor

from start_training.initializers.initializer import Fans
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.settings import PositiveNumber, checked


class PhasePoint(VarianceScaling):
    """W ~ N(J0/N, J²/N), N the fan-in, and zero biases: a layer at (J0, J), at the edge of chaos for J0 = 0, J = 1.

    Variance and kurtosis are those about the mean. With J0 = 0 the law is symmetric and `kappa` is J². With any other
    J0 it is not symmetric, and the laws of src/theory, which are those of symmetric weights, do not apply.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), who draw their square layer with J0 = 0 and J = 0.5.

    Args:
        J0: Mean of a weight times N.
        J: Standard deviation of a weight times √N.

    Raises:
        ValueError: J is not positive, or J0 is not a finite number.

    Example:
        >>> PhasePoint(J0=0.0, J=1.5).kappa(Fans(100, 100))
        2.25
    """

    @checked
    def __init__(self, J0: float = 0.0, J: PositiveNumber = 0.5) -> None:
        if isinstance(J0, bool) or not isinstance(J0, int | float) or not math.isfinite(J0):
            raise ValueError(f"J0 = {J0!r}: must be a number")
        self.J0 = float(J0)
        self.J = J
        super().__init__(J**2)
        self.symmetric = J0 == 0

    def _fill_(self, weight: Tensor, fans: Fans, generator: Generator | None) -> None:
        super()._fill_(weight, fans, generator)
        weight.add_(self.J0 / fans.fan_in)

    def __repr__(self) -> str:
        return f"PhasePoint(J0={self.J0:g}, J={self.J:g})"
