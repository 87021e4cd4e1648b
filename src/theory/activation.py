"""Activation functions in NumPy: elementwise functions of float64 arrays, with their derivatives."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

Array: TypeAlias = NDArray[np.float64]
_HALF_NORMAL = 1 / math.sqrt(2 * math.pi)  # E[max(z, 0)] of a standard normal z


class Activation(Protocol):
    """Interface of an activation: the function φ and its derivative φ′, applied elementwise to arrays of any shape."""

    def value(self, x: Array, /) -> Array: ...

    def derivative(self, x: Array, /) -> Array: ...


@dataclass(frozen=True)
class Homogeneous:
    """A positively homogeneous activation: φ(z) = z for z > 0 and φ(z) = negative_slope · z for z ≤ 0.

    It satisfies φ(c z) = c φ(z) for c > 0, and the moments of φ(z) have closed forms.

    Args:
        negative_slope: Slope for z ≤ 0: 0 is ReLU, 1 the identity, 0.01 torch's default leaky ReLU.

    Example:
        >>> Homogeneous(0.0).second, Homogeneous(0.0).peakedness  # ReLU
        (0.5, 2.0)
    """

    negative_slope: float

    def value(self, x: Array, /) -> Array:
        return np.where(x > 0, x, self.negative_slope * x)

    def derivative(self, x: Array, /) -> Array:
        return np.where(x > 0, 1.0, self.negative_slope)

    @property
    def mean(self) -> float:
        """E[φ(z)] of a standard normal z."""
        return (1 - self.negative_slope) * _HALF_NORMAL

    @property
    def second(self) -> float:
        """E[φ(z)²] / E[z²] for any symmetric random variable z; 1/2 for ReLU."""
        return (1 + self.negative_slope**2) / 2

    @property
    def third(self) -> float:
        """E[φ(z)³] of a standard normal z."""
        return 2 * (1 - self.negative_slope**3) * _HALF_NORMAL

    @property
    def fourth(self) -> float:
        """E[φ(z)⁴] / E[z⁴] for any symmetric random variable z; 1/2 for ReLU."""
        return (1 + self.negative_slope**4) / 2

    @property
    def peakedness(self) -> float:
        """The ratio fourth / second²: 2 for ReLU, 1 for the identity."""
        return self.fourth / self.second**2


@dataclass(frozen=True)
class Smooth:
    """A differentiable activation such as tanh, given by two functions.

    Args:
        value: φ, elementwise.
        derivative: φ′, elementwise.
    """

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]


LEAK = 0.01  # torch's default negative slope
RELU = Homogeneous(0.0)
LINEAR = Homogeneous(1.0)
TANH = Smooth(np.tanh, lambda x: 1 - np.tanh(x) ** 2)

ACTIVATIONS: dict[str, Activation] = {  # the same keys as ACTIVATIONS in src/models/activation.py
    "relu": RELU,
    "tanh": TANH,
    "gelu": Smooth(lambda x: x * ndtr(x), lambda x: ndtr(x) + x * np.exp(-(x**2) / 2) * _HALF_NORMAL),
    "silu": Smooth(lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))),
    "leaky_relu": Homogeneous(LEAK),
    "linear": LINEAR,
}
