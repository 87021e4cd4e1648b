"""Activations as theory takes them: elementwise functions of float64 arrays, and their derivatives."""

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

    Straight on either side of zero, and so of closed forms:
    second, fourth: E[φ(z)²] / E[z²] and E[φ(z)⁴] / E[z⁴] of any symmetric z.
    mean, third: E[φ(z)] and E[φ(z)³] of a standard normal z.
    """

    negative_slope: float

    def value(self, x: Array, /) -> Array:
        return np.where(x > 0, x, self.negative_slope * x)

    def derivative(self, x: Array, /) -> Array:
        return np.where(x > 0, 1.0, self.negative_slope)

    @property
    def mean(self) -> float:
        return (1 - self.negative_slope) * _HALF_NORMAL

    @property
    def second(self) -> float:
        return (1 + self.negative_slope**2) / 2

    @property
    def third(self) -> float:
        return 2 * (1 - self.negative_slope**3) * _HALF_NORMAL

    @property
    def fourth(self) -> float:
        return (1 + self.negative_slope**4) / 2

    @property
    def peakedness(self) -> float:
        """fourth / second²: 2 for ReLU, 1 for a linear unit."""
        return self.fourth / self.second**2


@dataclass(frozen=True)
class Smooth:
    """An activation without kinks, from its two functions."""

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]


def _tanh_derivative(x: Array) -> Array:
    return 1 - np.tanh(x) ** 2


def _gelu(x: Array) -> Array:
    return x * ndtr(x)


def _gelu_derivative(x: Array) -> Array:
    return ndtr(x) + x * np.exp(-(x**2) / 2) * _HALF_NORMAL


def _silu(x: Array) -> Array:
    return x * expit(x)


def _silu_derivative(x: Array) -> Array:
    return expit(x) * (1 + x * expit(-x))


LEAK = 0.01  # torch's default negative slope
RELU = Homogeneous(0.0)
LINEAR = Homogeneous(1.0)
TANH = Smooth(np.tanh, _tanh_derivative)

ACTIVATIONS: dict[str, Activation] = {  # those of src/models/activation.py, by the same names
    "relu": RELU,
    "tanh": TANH,
    "gelu": Smooth(_gelu, _gelu_derivative),
    "silu": Smooth(_silu, _silu_derivative),
    "leaky_relu": Homogeneous(LEAK),
    "linear": LINEAR,
}
