"""The final distance of two states of a random tanh layer that began close together, for a whole phase diagram."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from start_training.order_chaos.random_layer import APART, RandomLayer, by_tiles

SEPARATED = 100 * APART  # distance above which two states count as chaotic
MET = APART / 100  # distance below which they count as one: near the edge float32 rounding keeps them that far apart
LOOK = 10  # iterations after which it is tested again which states have met
ROUNDING = 1e-12  # of 1/J, a mean over matrices of a sum of bins
TILE = {"cpu": 128, "cuda": 4096}  # points iterated together; on a CPU few enough for a core's cache

Array = NDArray[np.float64]


def asymptotic_distances(
    layer: RandomLayer, J0: ArrayLike, J: ArrayLike, *, iterations: int, average: int, threads: int | None = None
) -> Iterator[Array]:
    """‖x − y‖/√N of two states x, y that began close together, iterated by x ← tanh(W x), for each (J0, J).

    W = J0/N + J G/√N with one matrix G, so that an iteration of many points is one matrix product. States within `MET`
    of each other are assumed to stay together: their distance is 0, and they are not iterated further.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the coloured phase diagram.

    Args:
        layer: G and the two states.
        J0: Of the points.
        J: Of the points, of the same size.
        iterations: Of the map.
        average: The last iterations over which the distance is averaged.
        threads: On a CPU; torch's number by default.

    Yields:
        Distances of blocks of points, in order.
    """
    device = layer.G.device
    J0, J = (torch.tensor(np.ravel(values), dtype=layer.G.dtype, device=device) for values in (J0, J))
    work = partial(_distances, layer, iterations=iterations, average=average)
    yield from by_tiles(work, J0, J, size=TILE[device.type], threads=threads)


@torch.no_grad()
def asymptotic_distance_of_one(layer: RandomLayer, J0: float, J: float, *, iterations: int, average: int) -> float:
    """The distance at one point by its definition: with a matrix W of its own, and all iterations."""
    W, x, distances = layer.weight(J0, J), layer.states, []
    for iteration in range(iterations):
        x = torch.tanh(x @ W.T)
        if iteration >= iterations - average:
            distances.append((x[0] - x[1]).square().mean().sqrt())
    return float(torch.stack(distances).double().mean())


def transition(edges: ArrayLike, distances: ArrayLike, *, axis: int = 0) -> Array:
    """1/J below which states separate: the first edge plus the width of the bins with a distance above `SEPARATED`.

    If matrices separate states out of order, this is a mean over the bins.

    Args:
        edges: Equally spaced ends of bins, shape (bins + 1,).
        distances: At the centres of the bins along `axis`.
        axis: It is missing in the result.

    Raises:
        ValueError: The edges are not equally spaced.
    """
    edges, distances = np.asarray(edges, np.float64), np.asarray(distances, np.float64)
    assert len(edges) == distances.shape[axis] + 1
    widths = np.diff(edges)
    if not np.allclose(widths, widths[0]):
        raise ValueError(f"edges = {edges.tolist()}: must be equally spaced")
    return edges[0] + widths[0] * (distances > SEPARATED).sum(axis)


def below_edge(inverse_J: ArrayLike) -> Array:
    """1 − 1/J, how far transitions lie below the edge of infinitely many units; differences by rounding are 0."""
    below = 1 - np.asarray(inverse_J, np.float64)
    return np.where(np.abs(below) > ROUNDING, below, 0.0)


@torch.no_grad()
def _distances(layer: RandomLayer, J0: Tensor, J: Tensor, *, iterations: int, average: int) -> Array:
    """The distances of a tile of points with states (2, points, N); only states that have not met are iterated."""
    active, distances = torch.arange(len(J), device=J.device), torch.zeros(len(J), dtype=torch.float64, device=J.device)
    x = layer.states[:, None].expand(2, len(J), layer.N)
    for iteration in range(1, iterations + 1):
        x = layer.map(x, J0[active], J[active], "tanh")
        last = iteration > iterations - average
        if last or iteration % LOOK == 0:
            apart = (x[0] - x[1]).square().mean(-1).sqrt()
            distances[active] += apart.double() * last / average
            if not (still := apart > MET).all():
                distances[active[~still]] = 0
                active, x = active[still], x[:, still]
                if not len(active):
                    break
    return distances.cpu().numpy()
