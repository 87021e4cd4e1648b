"""Work on points, a tile of them after the other, or on a CPU one in each thread."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


def by_tiles(work: Callable[..., Result], *points: Tensor, size: int, threads: int | None = None) -> Iterator[Result]:
    """work(…) of `size` points after the other, in order. On a CPU as many at once as torch has threads, or `threads`.

    Threads that share nothing wait for nobody, as torch's own do after each operation. What is not yet begun when the
    caller stops is left.
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
