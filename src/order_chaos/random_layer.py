"""A random layer shared by all points of a phase diagram, and the parallel processing of those points."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import linear

from start_training.settings import one_of

INITIAL_DISTANCE = 1e-4  # distance ‖x − y‖/√N of the two start states
ACTIVATIONS = ("relu", "tanh")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RandomLayer:
    """A Gaussian matrix and two nearby start states.

    Args:
        G: Independent standard normal entries, shape (N, N).
        states: Two states x and y with ‖x − y‖/√N = `INITIAL_DISTANCE`, shape (2, N).
    """

    G: Tensor
    states: Tensor

    @property
    def N(self) -> int:
        return len(self.G)

    def weight(self, J0: float, J: float) -> Tensor:
        """Return the weight matrix W = J0/N + J G/√N, shape (N, N)."""
        return J0 / self.N + J * self.G / self.N**0.5

    @cached_property
    def _matrix(self) -> Tensor:
        """G with an extra column of ones, which adds the mean of a state to all units in the same matrix product."""
        return torch.cat([self.G, torch.ones_like(self.G[:, :1])], 1)

    def map(self, x: Tensor, J0: Tensor, J: Tensor, activation: str) -> Tensor:
        """Compute φ(W x) for the states of many points, each with its own J0 and J, by one matrix product.

        W x = J0 mean(x) + J G x/√N. In float32 on a CPU, oneDNN computes the product, which may be several times as
        fast as torch.

        Args:
            x: States, shape (2, points, N).
            J0: J0 of each point, shape (points,).
            J: J of each point, shape (points,).
            activation: Name of φ, one of `ACTIVATIONS`.

        Returns:
            The new states, shape (2, points, N).
        """
        scaled = x * (J[:, None] / self.N**0.5)
        driven = torch.cat([scaled, (J0 * x.mean(-1))[..., None]], -1).flatten(0, 1)
        if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            return _activated(linear(driven.to_mkldnn(), self._matrix), activation).to_dense().view(x.shape)
        return _activated(driven @ self._matrix.T, activation).view(x.shape)


def draw_layer(
    N: int, *, seed: int, number: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> RandomLayer:
    """Draw a random matrix and two start states.

    The first state is uniform on [0, 1), like pixels, and the second lies at the distance `INITIAL_DISTANCE` from it.
    The states have a mean above 0, so that they converge to the fixed point with a nonzero mean if there is one.

    Args:
        N: Number of units.
        seed: Seed of the series of matrices.
        number: Index of the matrix within the series.
        device: Device of the tensors. The values are the same on every device.
        dtype: Data type of the tensors.

    Raises:
        ValueError: The matrix does not fit into memory.
    """
    # Hashed, so that neighbouring seeds and numbers give unrelated generator seeds.
    state = np.random.SeedSequence((seed, number, N)).generate_state(1, np.uint64)[0]
    generator = Generator().manual_seed(int(state >> np.uint64(1)))
    try:
        G = torch.randn(N, N, generator=generator)
    except RuntimeError as error:
        raise ValueError(f"N = {N}: a matrix of {4 * N**2 / 2**30:,.0f} GiB does not fit in memory; lower N") from error
    start, difference = torch.rand(N, generator=generator), torch.randn(N, generator=generator)
    states = torch.stack([start, start + INITIAL_DISTANCE * difference / difference.square().mean().sqrt()])
    return RandomLayer(G.to(device, dtype), states.to(device, dtype))


def _activated(x: Tensor, activation: str) -> Tensor:
    return x.tanh_() if one_of("activation", activation, ACTIVATIONS) == "tanh" else x.relu_()


def map_tiles(work: Callable[..., Result], *points: Tensor, size: int, threads: int | None = None) -> Iterator[Result]:
    """Split the points of a phase diagram into tiles, call `work` on each tile, and yield the results in order.

    On a CPU, a pool of threads processes the tiles in parallel, and torch's own parallelism is off, since its threads
    would wait for each other after each operation. Tiles not yet begun when the caller stops are skipped.

    Args:
        work: Function called with one tile of each tensor in `points`.
        points: Tensors with one entry per point along their first axis.
        size: Number of points in a tile.
        threads: Number of CPU threads; by default torch's own number.
    """
    tiles = [values.split(size) for values in points]
    if points[0].device.type != "cpu":
        yield from map(work, *tiles)
        return
    torch_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads or torch_threads, initializer=lambda: torch.set_num_threads(1))
    try:
        yield from pool.map(work, *tiles)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch_threads)  # set_num_threads in a pool thread also changes state of the whole process
