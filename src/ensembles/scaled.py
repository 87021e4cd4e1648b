"""Activations of many nets, each times a scale that is kept apart, so that nothing overflows at any depth."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


class Scaled(NamedTuple):
    """The activations values · exp(log_unit).

    Attributes:
        values: Shape (nets, samples, units).
        log_unit: Shape (nets, samples), float64.
    """

    values: Tensor
    log_unit: Tensor

    def log_lengths(self) -> Tensor:
        """log M of each sample, (nets, samples) in float64; −inf for a dead one."""
        return self.values.double().square().mean(-1).log() + 2 * self.log_unit

    def normalized(self) -> tuple["Scaled", Tensor]:
        """The same activations, with values of length 1 unless all are 0; and their `log_lengths`."""
        logs = self.values.double().square().mean(-1).log_()
        half = torch.where(logs == -math.inf, 0.0, logs / 2)
        values = self.values * torch.exp(-half).to(self.values.dtype).unsqueeze(-1)
        return Scaled(values, self.log_unit + half), logs + 2 * self.log_unit

    def in_units(self, log_unit: Tensor) -> Tensor:
        """The values that these activations have with another log_unit, (nets, samples, units)."""
        return self.values * torch.exp(self.log_unit - log_unit).to(self.values.dtype).unsqueeze(-1)

    def plus(self, other: "Scaled", eta: float) -> "Scaled":
        """The sum of these activations and eta times the other ones, in the larger of both units."""
        unit = torch.maximum(self.log_unit, other.log_unit)
        return Scaled(self.in_units(unit) + eta * other.in_units(unit), unit)


def to_numpy(log_lengths: list[Tensor]) -> Array:
    """The logarithm of the mean over samples of layers 0 … d, (nets, d + 1), from (nets, samples) of each layer."""
    stacked = torch.stack(log_lengths, dim=1)  # (nets, d + 1, samples)
    return (stacked.logsumexp(-1) - math.log(stacked.shape[-1])).cpu().numpy()
