"""Orthogonal weights: neither independent nor a fan-in law."""

import math

import torch
from torch import Generator, Tensor, nn

from start_training.initializers.initializer import Fans, Initializer
from start_training.settings import PositiveNumber, checked

RELU_GAIN = math.sqrt(2)


class Orthogonal(Initializer):
    """gain times a Haar-random semi-orthogonal matrix of shape (units out, fan_in).

    With n = max(units out, fan_in), an entry squared is gain² · Beta(1/2, (n − 1)/2), hence
    Var W = gain²/n and kurtosis 3n/(n + 2); kappa = gain² · min(1, fan_in / units out).
    Source: Saxe et al. 2013 (arXiv:1312.6120); moments of the uniform law on the sphere.

    Args:
        gain: √2, which is critical for ReLU, or 1 for linear units.

    Raises:
        ValueError: gain is not positive.

    Example:
        >>> round(Orthogonal().kappa(Fans(100, 200)), 6)  # units out exceed fan_in
        1.0
    """

    independent = False

    @checked
    def __init__(self, gain: PositiveNumber = RELU_GAIN) -> None:
        self.gain = gain

    def __call__(self, weight: Tensor, generator: Generator | None = None) -> None:
        nn.init.orthogonal_(weight, self.gain, generator=generator)

    def fill_many_(self, weights: Tensor, generator: Generator | None = None) -> None:
        nets, units_out, fan_in = weights.flatten(2).shape
        shape = (nets, max(units_out, fan_in), min(units_out, fan_in))
        normal = torch.empty(shape, dtype=weights.dtype, device=weights.device).normal_(generator=generator)
        q, r = torch.linalg.qr(normal)
        q *= r.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)  # QR alone is not Haar: Mezzadri arXiv:math-ph/0609050
        weights.copy_((q if units_out >= fan_in else q.mT).mul_(self.gain).view_as(weights))

    def variance(self, fans: Fans) -> float:
        return self.gain**2 / _longer_side(fans)

    def kurtosis(self, fans: Fans) -> float:
        n = _longer_side(fans)
        return 3 * n / (n + 2)

    def __repr__(self) -> str:
        return f"Orthogonal(gain={self.gain:.4g})"


def _longer_side(fans: Fans) -> int:
    return max(fans.fan_out // fans.kernel, fans.fan_in)
