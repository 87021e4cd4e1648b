"""PyTorch's default initialization: uniform weights far below the critical variance, and random biases."""

import math

from torch import Generator, Tensor

from start_training.initializers.initializer import Fans
from start_training.initializers.variance_scaling import VarianceScaling


class TorchDefault(VarianceScaling):
    """PyTorch's default weights and biases, uniform in ±1/√fan_in.

    Var W = Var b = 1/(3 fan_in), so that kappa = 1/3.

    Source: `reset_parameters` of torch's Linear and convolutions (kaiming_uniform_ with a = √5).

    Example:
        >>> round(TorchDefault().kappa(Fans(fan_in=100, fan_out=100)), 6)
        0.333333
    """

    def __init__(self) -> None:
        super().__init__(scale=1 / 3, fan_mode="fan_in", distribution="uniform")

    def bias_variance(self, fans: Fans) -> float:
        return 1 / (3 * fans.fan_in)

    def fill_bias_(self, bias: Tensor, fans: Fans, generator: Generator | None = None) -> None:
        bound = 1 / math.sqrt(fans.fan_in)
        bias.uniform_(-bound, bound, generator=generator)

    def __repr__(self) -> str:
        return "TorchDefault()"
