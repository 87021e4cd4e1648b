import pytest
import torch


@pytest.fixture
def inputs() -> torch.Tensor:
    """32 samples of 64 numbers, of M_0 near 1; not from seed 0, whose numbers are the weights of some test."""
    return torch.randn(32, 64, generator=torch.Generator().manual_seed(100))


@pytest.fixture(autouse=True)
def seeded():
    """For the constructors of torch's modules, which draw from the global stream."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
