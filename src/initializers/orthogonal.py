"""Orthogonal initialization, whose weights are not independent."""

import math

import torch
from torch import Generator, Tensor, nn

from start_training.initializers.initializer import Fans, Initializer
from start_training.settings import PositiveNumber, checked

RELU_GAIN = math.sqrt(2)


class Orthogonal(Initializer):
    """Weights that are `gain` times a Haar-random semi-orthogonal matrix of shape (units out, fan_in).

    With n = max(units out, fan_in), a squared weight is distributed as gain² · Beta(1/2, (n − 1)/2), so that
    Var W = gain²/n, the kurtosis is 3n/(n + 2), and kappa = gain² · min(1, fan_in / units out).
    Source: Saxe et al. 2013 (arXiv:1312.6120); moments of the uniform distribution on the sphere.

    Args:
        gain: Factor on the orthogonal matrix; √2 is critical for ReLU, 1 for linear units.

    Raises:
        ValueError: gain is not positive.

    Example:
        >>> round(Orthogonal().kappa(Fans(100, 200)), 6)  # fan_in / units out = 1/2
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
        q *= r.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)  # makes q Haar-random (Mezzadri, arXiv:math-ph/0609050)
        weights.copy_((q if units_out >= fan_in else q.mT).mul_(self.gain).view_as(weights))

    def variance(self, fans: Fans) -> float:
        return self.gain**2 / _longer_side(fans)

    def kurtosis(self, fans: Fans) -> float:
        n = _longer_side(fans)
        return 3 * n / (n + 2)

    def __repr__(self) -> str:
        return f"Orthogonal(gain={self.gain:.4g})"


def _longer_side(fans: Fans) -> float:
    return max(fans.fan_out // fans.kernel, fans.fan_in)
