"""Iterate pairs of nearby states through random tanh layers and measure their final distance, for a phase diagram."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from start_training.order_chaos.random_layer import INITIAL_DISTANCE, RandomLayer, map_tiles

SEPARATED = 100 * INITIAL_DISTANCE  # a point counts as chaotic if its two states end farther apart than this
# Two states closer than this count as merged. It is not 0, because near the edge float32 rounding keeps states apart.
MERGED = INITIAL_DISTANCE / 100
CHECK_EVERY = 10  # number of iterations between two tests for merged states
ROUNDING = 1e-12  # largest rounding error of a transition 1/J, which is a mean over matrices of sums of bin widths
TILE = {"cpu": 128, "cuda": 4096}  # number of points iterated together; on a CPU they must fit into a core's cache

Array = NDArray[np.float64]


def asymptotic_distances(
    layer: RandomLayer, J0: ArrayLike, J: ArrayLike, *, iterations: int, average: int, threads: int | None = None
) -> Iterator[Array]:
    """Compute the final distance ‖x − y‖/√N of two nearby states iterated by x ← tanh(W x), for each point (J0, J).

    All points share one Gaussian matrix G, W = J0/N + J G/√N, so that one matrix product iterates many points. Two
    states closer than `MERGED` are assumed to stay together: their distance is set to 0 and their iteration stops.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the coloured phase diagram.

    Args:
        layer: The matrix G and the two start states.
        J0: J0 of the points, of any shape.
        J: J of the points, with as many entries as `J0`.
        iterations: Number of iterations.
        average: The distance is averaged over this number of last iterations.
        threads: Number of CPU threads; by default torch's own number.

    Yields:
        Arrays of distances, one for each block of consecutive points (flattened in C order).
    """
    device = layer.G.device
    J0, J = (torch.tensor(np.ravel(values), dtype=layer.G.dtype, device=device) for values in (J0, J))
    work = partial(_distances, layer, iterations=iterations, average=average)
    yield from map_tiles(work, J0, J, size=TILE[device.type], threads=threads)


@torch.no_grad()
def asymptotic_distance_of_one(layer: RandomLayer, J0: float, J: float, *, iterations: int, average: int) -> float:
    """Compute the final distance at one point directly from its definition, as a slow reference.

    It builds the matrix W of the point and carries out all iterations. `asymptotic_distances` explains the arguments.
    """
    W, x, distances = layer.weight(J0, J), layer.states, []
    for iteration in range(iterations):
        x = torch.tanh(x @ W.T)
        if iteration >= iterations - average:
            distances.append((x[0] - x[1]).square().mean().sqrt())
    return float(torch.stack(distances).double().mean())


def transition(edges: ArrayLike, distances: ArrayLike, *, axis: int = 0) -> Array:
    """Find the value of 1/J below which nearby states separate under x ← tanh(W x), W = J0/N + J G/√N.

    It is the first edge plus the total width of all bins whose distance is above `SEPARATED`. This also gives a
    sensible value if, by chance, a bin without separation lies between bins with separation.

    Args:
        edges: Equally spaced edges of the bins of 1/J, shape (bins + 1,).
        distances: Final distances at the centres of the bins, with the bins along `axis`.
        axis: The axis of `distances` that is reduced.

    Returns:
        1/J of the transition, with the shape of `distances` without `axis`.

    Raises:
        ValueError: The edges are not equally spaced.

    Example:
        >>> float(transition([0.0, 1.0, 2.0], [0.5, 0.0]))
        1.0
    """
    edges, distances = np.asarray(edges, np.float64), np.asarray(distances, np.float64)
    assert len(edges) == distances.shape[axis] + 1
    widths = np.diff(edges)
    if not np.allclose(widths, widths[0]):
        raise ValueError(f"edges = {edges.tolist()}: must be equally spaced")
    return edges[0] + widths[0] * (distances > SEPARATED).sum(axis)


def below_edge(inverse_J: ArrayLike) -> Array:
    """Return 1 − 1/J: how far a transition lies below 1/J = 1, the edge of chaos for N → ∞; rounding errors give 0."""
    below = 1 - np.asarray(inverse_J, np.float64)
    return np.where(np.abs(below) > ROUNDING, below, 0.0)


@torch.no_grad()
def _distances(layer: RandomLayer, J0: Tensor, J: Tensor, *, iterations: int, average: int) -> Array:
    """Compute the final distances of a tile of points; points whose two states have merged are not iterated further."""
    active, distances = torch.arange(len(J), device=J.device), torch.zeros(len(J), dtype=torch.float64, device=J.device)
    x = layer.states[:, None].expand(2, len(J), layer.N)
    for iteration in range(1, iterations + 1):
        x = layer.map(x, J0[active], J[active], "tanh")
        last = iteration > iterations - average
        if last or iteration % CHECK_EVERY == 0:
            apart = (x[0] - x[1]).square().mean(-1).sqrt()
            distances[active] += apart.double() * last / average
            if not (still := apart > MERGED).all():
                distances[active[~still]] = 0
                active, x = active[still], x[:, still]
                if not len(active):
                    break
    return distances.cpu().numpy()
