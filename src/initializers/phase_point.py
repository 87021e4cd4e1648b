"""Weights of a layer with given coordinates (J0, J) in the phase diagram of order and chaos."""

import math

from torch import Generator, Tensor

from start_training.initializers.initializer import Fans
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.settings import PositiveNumber, checked


class PhasePoint(VarianceScaling):
    """Normal weights W ~ N(J0/N, J²/N), where N is the fan-in, and zero biases.

    A tanh layer with J0 = 0, J = 1 is at the edge of chaos. `variance`, `kurtosis` and `kappa` = J² are those about the
    mean J0/N. The laws in src/theory assume symmetric weights, so that they apply for J0 = 0 only.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), who draw their square layer with J0 = 0 and J = 0.5.

    Args:
        J0: Mean of the weights times N.
        J: Standard deviation of the weights times √N.

    Raises:
        ValueError: J is not positive, or J0 is not a finite number.

    Example:
        >>> PhasePoint(J0=0.0, J=1.5).kappa(Fans(100, 100))
        2.25
    """

    @checked
    def __init__(self, J0: float = 0.0, J: PositiveNumber = 0.5) -> None:
        if isinstance(J0, bool) or not isinstance(J0, int | float) or not math.isfinite(J0):
            raise ValueError(f"J0 = {J0!r}: must be a finite number")
        self.J0 = float(J0)
        self.J = J
        super().__init__(J**2)
        self.symmetric = J0 == 0

    def _fill_(self, weight: Tensor, fans: Fans, generator: Generator | None) -> None:
        super()._fill_(weight, fans, generator)
        weight.add_(self.J0 / fans.fan_in)

    def __repr__(self) -> str:
        return f"PhasePoint(J0={self.J0:g}, J={self.J:g})"
