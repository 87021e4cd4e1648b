import pytest
import torch


@pytest.fixture
def inputs() -> torch.Tensor:
    """32 normal samples of 64 features, M_0 near 1; the seed is not 0, with which some tests draw weights."""
    return torch.randn(32, 64, generator=torch.Generator().manual_seed(100))


@pytest.fixture(autouse=True)
def seeded():
    """Seed the global random stream, from which the constructors of torch's modules draw."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
