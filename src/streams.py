"""Torch's global random stream, lent for a while to what knows no other."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator


@contextmanager
def global_stream_from(generator: Generator) -> Iterator[None]:
    """Within, the CPU's global stream is a function of the generator; afterwards it goes on as if nothing had been."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would replace the accelerators' streams as well.
        torch.default_generator.manual_seed(seed)
        yield
