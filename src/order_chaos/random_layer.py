"""One Gaussian matrix that serves for all weights of a phase diagram, two states to iterate, and work on its points."""

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

APART = 1e-4  # root mean square over units of the difference of two states at the start
ACTIVATIONS = ("relu", "tanh")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RandomLayer:
    """G of independent standard normal entries, (N, N), and two states, (2, N), at the distance `APART`."""

    G: Tensor
    states: Tensor

    @property
    def N(self) -> int:
        return len(self.G)

    def weight(self, J0: float, J: float) -> Tensor:
        """W = J0/N + J G/√N."""
        return J0 / self.N + J * self.G / self.N**0.5

    @cached_property
    def _matrix(self) -> Tensor:
        """G with a column of ones, by which the mean of a state is added to all units."""
        return torch.cat([self.G, torch.ones_like(self.G[:, :1])], 1)

    def map(self, x: Tensor, J0: Tensor, J: Tensor, activation: str) -> Tensor:
        """φ(W x) for states of many points, with W of each point's J0 and J, by one matrix product.

        W x = J0 mean(x) + J G x/√N. In float32 on a CPU oneDNN computes it, which may be several times as fast as
        torch.

        Args:
            x: States, shape (2, points, N).
            J0: Shape (points,).
            J: Shape (points,).
            activation: One of `ACTIVATIONS`.
        """
        scaled = x * (J[:, None] / self.N**0.5)
        driven = torch.cat([scaled, (J0 * x.mean(-1))[..., None]], -1).flatten(0, 1)
        if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            return _activated(linear(driven.to_mkldnn(), self._matrix), activation).to_dense().view(x.shape)
        return _activated(driven @ self._matrix.T, activation).view(x.shape)


def draw_layer(
    N: int, *, seed: int, number: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> RandomLayer:
    """A random matrix and two states: one uniform on [0, 1), as pixels are, and one at the distance `APART` from it.

    A state that begins with a mean converges to the fixed point with a mean, if there is one.

    Args:
        N: Units.
        seed: Of the matrices.
        number: Of the matrix among those of a seed.
        device: Where the layer lies; its numbers are the same on every device.
        dtype: Of the layer.

    Raises:
        ValueError: The matrix does not fit into memory.
    """
    state = np.random.SeedSequence((seed, number, N)).generate_state(1, np.uint64)[0]  # far apart for neighbours
    generator = Generator().manual_seed(int(state >> np.uint64(1)))
    try:
        G = torch.randn(N, N, generator=generator)
    except RuntimeError as error:
        raise ValueError(f"N = {N}: a matrix of {4 * N**2 / 2**30:,.0f} GiB does not fit into memory") from error
    start, difference = torch.rand(N, generator=generator), torch.randn(N, generator=generator)
    states = torch.stack([start, start + APART * difference / difference.square().mean().sqrt()])
    return RandomLayer(G.to(device, dtype), states.to(device, dtype))


def _activated(x: Tensor, activation: str) -> Tensor:
    return x.tanh_() if one_of("activation", activation, ACTIVATIONS) == "tanh" else x.relu_()


def by_tiles(work: Callable[..., Result], *points: Tensor, size: int, threads: int | None = None) -> Iterator[Result]:
    """Call `work` with tiles of the points, and yield its results in order.

    On a CPU tiles are worked on in parallel, each in a thread of its own without torch's own parallelism, whose threads
    would wait for each other after each operation. Tiles that were not begun when the caller stops are skipped.

    Args:
        work: Is called with a tile of each tensor in `points`.
        points: Tensors of the same length.
        size: Points of a tile.
        threads: On a CPU; torch's number by default.
    """
    tiles = [values.split(size) for values in points]
    if points[0].device.type != "cpu":
        yield from map(work, *tiles)
        return
    of_torch = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads or of_torch, initializer=lambda: torch.set_num_threads(1))
    try:
        yield from pool.map(work, *tiles)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(of_torch)  # part of the setting is the process's, not the thread's
