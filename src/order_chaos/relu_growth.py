"""How fast two close states of a random ReLU layer separate, relative to their norm, which grows or shrinks."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from start_training.order_chaos.random_layer import APART, RandomLayer, by_tiles

TILE = {"cpu": 32, "cuda": 4096}  # points iterated together

Array = NDArray[np.float64]


class ReluGrowth(NamedTuple):
    """Growth in nats per iteration at J = 1, each (points,): of the state's norm, and of a distance relative to it."""

    norm: Array
    distance: Array


def relu_growth(layer: RandomLayer, ratios: ArrayLike, *, iterations: int, average: int) -> ReluGrowth:
    """Growth rates of the map x ← ReLU(W x) for each J0/J.

    As ReLU(c x) = c ReLU(x) for c > 0, J only adds log J to the rate of the norm. After each iteration both states are
    divided by their root mean square, and their difference is rescaled to `APART`; the rate of the distance is the
    mean of log(distance / APART) before that.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), whose code draws the ReLU map; the method is that for the
    largest Lyapunov exponent (Benettin et al. 1980), of the map of directions.

    Args:
        layer: The matrix and the two states.
        ratios: J0/J of the points.
        iterations: Of the map.
        average: The last iterations over which rates are averaged.

    Returns:
        Rates of the points; NaN where all units died.
    """
    J0 = torch.tensor(np.ravel(ratios), dtype=layer.G.dtype, device=layer.G.device)
    work = partial(_growth, layer, iterations=iterations, average=average)
    norms, distances = zip(*by_tiles(work, J0, size=TILE[J0.device.type]), strict=True)
    return ReluGrowth(np.concatenate(norms), np.concatenate(distances))


@torch.no_grad()
def _growth(layer: RandomLayer, J0: Tensor, *, iterations: int, average: int) -> ReluGrowth:
    x, J = layer.states[:, None].expand(2, len(J0), layer.N), torch.ones_like(J0)
    norms, distances = (torch.zeros(len(J0), dtype=torch.float64, device=J0.device) for _ in range(2))
    for iteration in range(1, iterations + 1):
        unit, _ = _normalized(x)
        unit = torch.stack([unit[0], unit[0] + APART * _normalized(unit[1] - unit[0])[0]])
        x = layer.map(unit, J0, J, "relu")
        if iteration > iterations - average:
            directions, scale = _normalized(x)
            norms += scale[0].double().log() / average
            distances += (_normalized(directions[0] - directions[1])[1].double() / APART).log() / average
    return ReluGrowth(norms.cpu().numpy(), distances.cpu().numpy())


def _normalized(x: Tensor) -> tuple[Tensor, Tensor]:
    """x divided by its root mean square over units, and that root mean square."""
    scale = x.square().mean(-1).sqrt()
    return x / scale[..., None], scale
