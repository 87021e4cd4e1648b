"""A step of a group: how many go together, and that it makes no difference."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.optim import SGD

from src.datamodules.batch_order import BatchOrder
from src.datamodules.samples import Samples
from src.replicas import caches
from src.replicas.batches import Batches
from src.replicas.caches import is_out_of_memory, largest_activation, together
from src.replicas.optimizer import Settings, stacked
from src.replicas.stack import Stack
from src.replicas.updates import Update, Updates
from src.replicas.vectorized import Lengths
from tests.replicas.nets import InPlace, Normalized, Patches

SAMPLES = Samples(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double(), torch.arange(40) % 3)
RATE = Settings(*(torch.full((5, 1), value, dtype=torch.float64) for value in (0.1, 0.9, 0.01, 0.0)))


def group_of(kind: type[nn.Module] = Normalized, samples: Samples = SAMPLES) -> Updates:
    torch.manual_seed(0)
    nets = [kind(6, 3).double() for _ in range(5)]
    stack = Stack(nets)
    batches = Batches(samples, [BatchOrder(40, 8, seed=seed) for seed in range(5)])
    batches.begin(0)
    optimizer = stacked(SGD(nets[0].parameters(), lr=0.1, momentum=0.9), stack.parameters)
    return Updates(stack, optimizer, batches, nullcontext, Lengths(stack.template, None))


def trained(group: Updates) -> list[Update]:
    return [group.take(batch, RATE, measured=True) for batch in range(4)]


def assert_same(group: Updates, its: list[Update], other: Updates, others: list[Update]) -> None:
    for one, two in zip(its, others, strict=True):
        torch.testing.assert_close(one.losses, two.losses)
        torch.testing.assert_close(one.readings, two.readings, equal_nan=True)
    torch.testing.assert_close(group.stack.parameters, other.stack.parameters)
    torch.testing.assert_close(group.stack.rest, other.stack.rest)


@pytest.mark.parametrize("kind", [Normalized, InPlace, Patches])
@pytest.mark.parametrize("cache", [1, 1600])
def test_a_few_at_a_time_take_the_steps_of_all(kind, cache, monkeypatch):
    """Also by the way of large batches, whose first layer gathers them one after the other."""
    whole = group_of(kind)
    found = trained(whole)
    monkeypatch.setattr(caches, "CACHE", cache)
    parts = group_of(kind)
    assert together(parts.stack, parts.batches) < 5
    assert_same(whole, found, parts, trained(parts))


def test_a_step_of_another_batch_would_be_noticed():
    whole, other = group_of(), group_of()
    found = trained(whole)
    other.batches.begin(1)
    with pytest.raises(AssertionError):
        assert_same(whole, found, other, trained(other))


def test_those_that_stay_take_the_steps_that_they_would_have_taken():
    whole, less = group_of(), group_of()
    whole.take(0, RATE, measured=False)
    less.take(0, RATE, measured=False)
    less.keep([1, 4])
    rate = RATE.each(lambda column: column[:2])
    one, other = whole.take(1, RATE, measured=True), less.take(1, rate, measured=True)
    torch.testing.assert_close(one.losses[[1, 4]], other.losses)
    torch.testing.assert_close(one.readings[[1, 4]], other.readings)
    torch.testing.assert_close(whole.stack.parameters[[1, 4]], less.stack.parameters)


def test_a_loss_that_is_not_finite_is_its_replicas_alone():
    whole, broken = group_of(InPlace), group_of(InPlace)
    broken.stack.parameters[2] = torch.nan
    found, others = trained(whole), trained(broken)
    stay = [0, 1, 3, 4]
    for one, other in zip(found, others, strict=True):
        assert other.losses[2].isnan()
        torch.testing.assert_close(one.losses[stay], other.losses[stay])
    torch.testing.assert_close(whole.stack.parameters[stay], broken.stack.parameters[stay])


def test_the_largest_activation_is_what_a_backward_pass_keeps():
    net = nn.Sequential(nn.Linear(4, 50), nn.ReLU(), nn.Linear(50, 3))
    assert largest_activation(net, torch.zeros(2, 4)) == 2 * 50 * 4
    assert largest_activation(nn.Linear(4, 3), torch.zeros(2, 4)) == 0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("memory"), False),
    ],
)
def test_what_says_that_memory_ran_out(error, told):
    assert is_out_of_memory(error) is told
