"""The activations that theory has closed forms for: straight on either side of zero."""

import math
from dataclasses import dataclass

_HALF_NORMAL = 1 / math.sqrt(2 * math.pi)  # E[z; z > 0] of a standard normal z


@dataclass(frozen=True)
class Homogeneous:
    """φ(z) = z for z > 0, negative_slope · z below: φ(c z) = c φ(z) for c > 0.

    second, fourth: E[φ(z)²] / E[z²] and E[φ(z)⁴] / E[z⁴] of any symmetric z.
    mean, third: E[φ(z)] and E[φ(z)³] of a standard normal z.
    """

    negative_slope: float

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


RELU = Homogeneous(0.0)
LINEAR = Homogeneous(1.0)
