"""Activations for theory: elementwise functions of float64 arrays, and their derivatives."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

Array: TypeAlias = NDArray[np.float64]
_HALF_NORMAL = 1 / math.sqrt(2 * math.pi)  # E[z; z > 0] of a standard normal z


class Activation(Protocol):
    """φ and φ′, elementwise, of arrays of any shape."""

    def value(self, x: Array, /) -> Array: ...

    def derivative(self, x: Array, /) -> Array: ...


@dataclass(frozen=True)
class Homogeneous:
    """φ(z) = z for z > 0, negative_slope · z below: φ(c z) = c φ(z) for c > 0.

    Its moments have closed forms, as it is straight on either side of zero.

    Args:
        negative_slope: 0 is ReLU, 1 a linear unit, 0.01 torch's leaky ReLU.

    Example:
        >>> Homogeneous(0.0).second, Homogeneous(0.0).peakedness  # of ReLU
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
        """E[φ(z)²] / E[z²] of any symmetric z."""
        return (1 + self.negative_slope**2) / 2

    @property
    def third(self) -> float:
        """E[φ(z)³] of a standard normal z."""
        return 2 * (1 - self.negative_slope**3) * _HALF_NORMAL

    @property
    def fourth(self) -> float:
        """E[φ(z)⁴] / E[z⁴] of any symmetric z."""
        return (1 + self.negative_slope**4) / 2

    @property
    def peakedness(self) -> float:
        """fourth / second²: 2 for ReLU, 1 for a linear unit."""
        return self.fourth / self.second**2


@dataclass(frozen=True)
class Smooth:
    """An activation without kinks.

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

ACTIVATIONS: dict[str, Activation] = {  # those of src/models/activation.py, by the same names
    "relu": RELU,
    "tanh": TANH,
    "gelu": Smooth(lambda x: x * ndtr(x), lambda x: ndtr(x) + x * np.exp(-(x**2) / 2) * _HALF_NORMAL),
    "silu": Smooth(lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))),
    "leaky_relu": Homogeneous(LEAK),
    "linear": LINEAR,
}
