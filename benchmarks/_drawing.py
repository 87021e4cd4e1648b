"""The floor: drawing a job's weights with torch, and doing nothing else with them.

They go into one buffer, as large as a chunk of the layerwise sampler, over and over.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Generator, Tensor, nn

from start_training.ensembles.layerwise import CHUNK_WEIGHTS
from start_training.initializers.variance_scaling import CUT

Fill = Callable[[Tensor, Generator], object]

# torch's own function of each law. Orthogonal weights start from normal ones: that a QR follows is no floor.
FILLS: dict[str, tuple[str, Fill]] = {
    "normal": ("normal_", lambda buffer, generator: buffer.normal_(generator=generator)),
    "uniform": ("uniform_", lambda buffer, generator: buffer.uniform_(-1, 1, generator=generator)),
    "truncated_normal": (
        "trunc_normal_",
        lambda buffer, generator: nn.init.trunc_normal_(buffer, a=-CUT, b=CUT, generator=generator),
    ),
}


def draw_weights(distribution: str, weights: int, *, seed: int, device: str = "cpu", threads: int = 1) -> None:
    """Draw so many weights, shared among `threads` generators, each in a thread in which torch uses one.

    Several generators, because one alone draws serially, however many threads torch has.
    """
    _, fill = FILLS[distribution]
    shares = [weights * (k + 1) // threads - weights * k // threads for k in range(threads)]
    of_torch = torch.get_num_threads()
    generators = [Generator(device).manual_seed(seed * threads + k) for k in range(threads)]
    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        list(pool.map(partial(_draw, fill), shares, generators))
    torch.set_num_threads(of_torch)  # part of the setting is the process's, not the thread's


def _draw(fill: Fill, weights: int, generator: Generator) -> None:
    buffer = torch.empty(min(weights, CHUNK_WEIGHTS[generator.device.type]), device=generator.device)
    for _ in range(weights // len(buffer)):
        fill(buffer, generator)
    if rest := weights % len(buffer):
        fill(buffer[:rest], generator)
