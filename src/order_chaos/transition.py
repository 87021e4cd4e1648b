"""Where a simulated diagram turns from chaos to order."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from start_training.order_chaos.asymptotic_distance import SEPARATED

ROUNDING = 1e-12  # of 1/J, a mean over matrices of a sum of bins

Array = NDArray[np.float64]


def transition(edges: ArrayLike, distances: ArrayLike, *, axis: int = 0) -> Array:
    """1/J below which states separate, from distances at the centres of the bins between `edges`, along `axis`.

    As far above the first edge as bins hold a distance above `SEPARATED`: a mean over them, where some matrices
    separate states out of order. Raises ValueError if the edges are not equally spaced.
    """
    edges, distances = np.asarray(edges, np.float64), np.asarray(distances, np.float64)
    assert len(edges) == distances.shape[axis] + 1
    widths = np.diff(edges)
    if not np.allclose(widths, widths[0]):
        raise ValueError(f"edges = {edges.tolist()}: must be equally spaced")
    return edges[0] + widths[0] * (distances > SEPARATED).sum(axis)


def below_edge(inverse_J: ArrayLike) -> Array:
    """1 − 1/J: how far transitions lie below the edge of infinitely many units; 0 where rounding alone parts them."""
    below = 1 - np.asarray(inverse_J, np.float64)
    return np.where(np.abs(below) > ROUNDING, below, 0.0)
