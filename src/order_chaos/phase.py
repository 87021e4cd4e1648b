"""The phase of a layer: where its weights stand between order and chaos."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from start_training.initializers.initializer import Fans


class LayerPhase(NamedTuple):
    """J0 = N · mean(W) and J = √N · std(W) of a layer with fan-in N: the coordinates of its phase diagram."""

    J0: float
    J: float

    @property
    def J2(self) -> float:
        """J², which grows linearly with training time in the ordered phase."""
        return self.J**2


@torch.no_grad()
def layer_phase(weight: Tensor) -> LayerPhase:
    """The phase of a weight of shape (units out, units in, *kernel); N is its fan-in, the kernel counted.

    The standard deviation is that of all entries (ddof 0), in float64.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), where W is square; for other layers J² is fan_in · Var W,
    the `kappa` of their weights.
    """
    fan_in = Fans.of(weight).fan_in
    variance, mean = torch.var_mean(weight.double(), correction=0)
    return LayerPhase(fan_in * float(mean), math.sqrt(fan_in * float(variance)))
