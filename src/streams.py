"""Isolation of the global random generators of Python, NumPy and torch."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Generator


@contextmanager
def isolate_random_streams(generator: Generator | None = None) -> Iterator[None]:
    """Restore the global random generators of Python, NumPy and torch at the end of the block, also after an error.

    Args:
        generator: A generator that draws the seed of the CPU generators within the block. None: they continue from
            their current state. CUDA generators are never seeded, and are restored only if this is None.

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
