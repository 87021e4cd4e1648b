"""Activations of many nets in units of their own, so that no depth overflows."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Scaled(NamedTuple):
    """act = values · exp(log_unit): values (nets, samples, units), log_unit (nets, samples) in float64."""

    values: Tensor
    log_unit: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Scaled":
        """The same numbers in units of 1."""
        return cls(values, torch.zeros(values.shape[:-1], dtype=torch.float64, device=values.device))

    def log_lengths(self) -> Tensor:
        """log M of each sample, (nets, samples) in float64; −inf for a dead one."""
        return self.values.double().square().mean(-1).log() + 2 * self.log_unit

    def normalized(self) -> tuple["Scaled", Tensor]:
        """The same numbers, with values of length 1 where they are not all 0; and their `log_lengths`."""
        logs = self.values.double().square().mean(-1).log_()
        half = torch.where(logs == -math.inf, 0.0, logs / 2)
        values = self.values * torch.exp(-half).to(self.values.dtype).unsqueeze(-1)
        return Scaled(values, self.log_unit + half), logs + 2 * self.log_unit

    def in_units(self, log_unit: Tensor) -> Tensor:
        """The values in other units, (nets, samples, units)."""
        return self.values * torch.exp(self.log_unit - log_unit).to(self.values.dtype).unsqueeze(-1)

    def plus(self, other: "Scaled", eta: float) -> "Scaled":
        """This and eta times the other, in the larger of both units."""
        unit = torch.maximum(self.log_unit, other.log_unit)
        return Scaled(self.in_units(unit) + eta * other.in_units(unit), unit)


def to_numpy(log_lengths: list[Tensor]) -> NDArray[np.float64]:
    """log M_0 … log M_d, averaged over each net's samples in the plain domain; (nets, d + 1)."""
    stacked = torch.stack(log_lengths, dim=1)  # (nets, d + 1, samples)
    return (stacked.logsumexp(-1) - math.log(stacked.shape[-1])).cpu().numpy()
