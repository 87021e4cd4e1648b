"""Activations of many nets, stored as a tensor and a separate log scale, so that they do not overflow at any depth."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


class Scaled(NamedTuple):
    """Activations represented as values · exp(log_unit).

    Attributes:
        values: Activations divided by their unit, shape (nets, samples, units).
        log_unit: Logarithm of the unit of each sample, shape (nets, samples), float64.
    """

    values: Tensor
    log_unit: Tensor

    def log_lengths(self) -> Tensor:
        """Return log M of each sample, shape (nets, samples) in float64; −inf if all its activations are 0."""
        return self.values.double().square().mean(-1).log() + 2 * self.log_unit

    def normalized(self) -> tuple["Scaled", Tensor]:
        """Return the same activations with `values` rescaled to length 1 (or all 0), and their `log_lengths`."""
        logs = self.values.double().square().mean(-1).log_()
        half = torch.where(logs == -math.inf, 0.0, logs / 2)
        values = self.values * torch.exp(-half).to(self.values.dtype).unsqueeze(-1)
        return Scaled(values, self.log_unit + half), logs + 2 * self.log_unit

    def in_units(self, log_unit: Tensor) -> Tensor:
        """Return the values of the same activations with another `log_unit`, shape (nets, samples, units)."""
        return self.values * torch.exp(self.log_unit - log_unit).to(self.values.dtype).unsqueeze(-1)

    def plus(self, other: "Scaled", eta: float) -> "Scaled":
        """Return self + eta · other, in the larger of both units."""
        unit = torch.maximum(self.log_unit, other.log_unit)
        return Scaled(self.in_units(unit) + eta * other.in_units(unit), unit)


def to_numpy(log_lengths: list[Tensor]) -> Array:
    """Return the log of the mean length over samples.

    Args:
        log_lengths: Log lengths of each layer 0 … d, each of shape (nets, samples).

    Returns:
        Shape (nets, d + 1).
    """
    stacked = torch.stack(log_lengths, dim=1)  # (nets, d + 1, samples)
    return (stacked.logsumexp(-1) - math.log(stacked.shape[-1])).cpu().numpy()
