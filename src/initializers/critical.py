"""Critical initialization for any activation, which generalizes He's variance 2/fan_in for ReLU."""

import math
from collections.abc import Callable

from torch import Generator, Tensor

from start_training.initializers.initializer import Fans
from start_training.initializers.torch_activation import activation_of, name_of_activation
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.settings import PositiveNumber, checked
from start_training.theory.critical_point import critical_point


class Critical(VarianceScaling):
    """Normal weights and biases with which wide nets preserve gradients and pre-activations of variance q.

    W ~ N(0, σ_w²/fan_in) and b ~ N(0, σ_b²) with σ_w² = 1/E[φ′(√q z)²] and σ_b² = q − σ_w² E[φ(√q z)²], where z is
    standard normal (see `critical_point` in src/theory/critical_point.py). Each layer multiplies small deviations of
    the variance from q by `point.slope`. For ReLU, leaky ReLU and linear units σ_b² = 0 and σ_w² does not depend on q
    (2 for ReLU, as in He initialization).
    Source: Poole et al. 2016 (arXiv:1606.05340); Schoenholz et al. 2017 (arXiv:1611.01232).

    Args:
        activation: The net's activation φ: a key of `ACTIVATIONS` such as `tanh`, an import path (`torch.nn.Mish`,
            `torch.nn.functional.elu`, or your own module or function), or the function or module itself.
        q: Variance of pre-activations.

    Raises:
        ValueError: activation is not an elementwise function with a derivative, q is not positive, or there is no
            stable critical point at q; the message names the nearest q that has one.

    Example:
        >>> round(Critical("tanh", q=1.0).point.weight_variance, 3)
        2.153
    """

    @checked
    def __init__(self, activation: str | Callable[..., object] | None, q: PositiveNumber = 1.0) -> None:
        self.activation = name_of_activation(activation)
        self.point = critical_point(activation_of(activation), q, name=self.activation)
        super().__init__(self.point.weight_variance)

    def bias_variance(self, fans: Fans) -> float:
        return self.point.bias_variance

    def fill_bias_(self, bias: Tensor, fans: Fans, generator: Generator | None = None) -> None:
        if self.point.bias_variance:
            bias.normal_(0.0, math.sqrt(self.point.bias_variance), generator=generator)
        else:
            bias.zero_()

    def __repr__(self) -> str:
        return f"Critical({self.activation}, q={self.point.q:g})"
