"""Measure how fast two nearby states of an iterated random ReLU layer separate, relative to their norm."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from start_training.order_chaos.random_layer import INITIAL_DISTANCE, RandomLayer, map_tiles

TILE = {"cpu": 32, "cuda": 4096}  # number of points iterated together

Array = NDArray[np.float64]


class ReluGrowth(NamedTuple):
    """Growth rates of an iterated ReLU layer at J = 1, in nats per iteration.

    Args:
        norm: Growth rate of the norm of a state, shape (points,).
        distance: Growth rate of the distance of two nearby states divided by their norm, shape (points,).
    """

    norm: Array
    distance: Array


def relu_growth(layer: RandomLayer, ratios: ArrayLike, *, iterations: int, average: int) -> ReluGrowth:
    """Compute the growth rates of the map x ← ReLU(W x), W = J0/N + J G/√N, for each value of J0/J.

    As ReLU(c x) = c ReLU(x) for c > 0, J only adds log J to the growth rate of the norm. After each iteration both
    states are divided by their root mean square, and their difference is rescaled to `INITIAL_DISTANCE`; the growth
    rate of the distance is the mean of log(distance / INITIAL_DISTANCE) before that rescaling.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), whose code draws the ReLU map. The method is the one for
    the largest Lyapunov exponent (Benettin et al. 1980), applied to normalized states.

    Args:
        layer: The matrix G and the two start states.
        ratios: J0/J of the points.
        iterations: Number of iterations.
        average: Rates are averaged over this number of last iterations.

    Returns:
        The growth rates of each point; NaN for a point where all units died.
    """
    J0 = torch.tensor(np.ravel(ratios), dtype=layer.G.dtype, device=layer.G.device)
    work = partial(_growth, layer, iterations=iterations, average=average)
    norms, distances = zip(*map_tiles(work, J0, size=TILE[J0.device.type]), strict=True)
    return ReluGrowth(np.concatenate(norms), np.concatenate(distances))


@torch.no_grad()
def _growth(layer: RandomLayer, J0: Tensor, *, iterations: int, average: int) -> ReluGrowth:
    x, J = layer.states[:, None].expand(2, len(J0), layer.N), torch.ones_like(J0)
    norms, distances = (torch.zeros(len(J0), dtype=torch.float64, device=J0.device) for _ in range(2))
    for iteration in range(1, iterations + 1):
        unit, _ = _normalized(x)
        unit = torch.stack([unit[0], unit[0] + INITIAL_DISTANCE * _normalized(unit[1] - unit[0])[0]])
        x = layer.map(unit, J0, J, "relu")
        if iteration > iterations - average:
            directions, scale = _normalized(x)
            norms += scale[0].double().log() / average
            distances += (_normalized(directions[0] - directions[1])[1].double() / INITIAL_DISTANCE).log() / average
    return ReluGrowth(norms.cpu().numpy(), distances.cpu().numpy())


def _normalized(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x divided by its root mean square over units, and that root mean square."""
    scale = x.square().mean(-1).sqrt()
    return x / scale[..., None], scale
