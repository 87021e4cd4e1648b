"""The random streams of the process: Python's, NumPy's and torch's global generators."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Generator


@contextmanager
def isolate_random_streams(generator: Generator | None = None) -> Iterator[None]:
    """Run code without disturbing the process's random streams, which are restored at the end, also after an error.

    Args:
        generator: Draws the seed of the CPU's streams within the block; by default they continue from their current
            state. The accelerators' streams are never seeded, and are restored only without a generator.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> with isolate_random_streams():
        ...     inside = torch.rand(1)
        >>> bool(torch.rand(1) == inside)
        True
    """
    seed = None if generator is None else int(torch.randint(2**62, (), generator=generator, device=generator.device))
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if seed is None and torch.cuda.is_initialized() else []
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators' streams as well
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        torch.cuda.set_rng_state_all(cuda)
