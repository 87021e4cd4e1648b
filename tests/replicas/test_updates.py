"""Training steps of a group: the number of replicas in a pass does not change the result."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD

from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.samples import Samples
from start_training.replicas import memory, updates
from start_training.replicas.batches import GroupBatches
from start_training.replicas.forward_pass import StackedLengths, losses_of
from start_training.replicas.memory import is_out_of_memory, largest_activation, replicas_per_pass, spans_of
from start_training.replicas.optimizer import StepSettings, stacked_optimizer
from start_training.replicas.stack import Stack
from start_training.replicas.updates import Update, Updates
from tests.replicas.nets import InPlace, Normalized, Patches

SAMPLES = Samples(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double(), torch.arange(40) % 3)
RATE = StepSettings(*(torch.full((5, 1), value, dtype=torch.float64) for value in (0.1, 0.9, 0.01, 0.0)))


def group_of(kind: type[nn.Module] = Normalized, samples: Samples = SAMPLES) -> Updates:
    torch.manual_seed(0)
    nets = [kind(6, 3).double() for _ in range(5)]
    stack = Stack(nets)
    batches = GroupBatches(samples, [BatchOrder(40, 8, seed=seed) for seed in range(5)])
    batches.begin(0)
    optimizer = stacked_optimizer(SGD(nets[0].parameters(), lr=0.1, momentum=0.9), stack.parameters)
    return Updates(stack, optimizer, batches, nullcontext, StackedLengths(stack.template, None))


def trained(group: Updates) -> list[Update]:
    return [group.train_step(batch, RATE, measured=True) for batch in range(4)]


def assert_same(group: Updates, results: list[Update], other: Updates, others: list[Update]) -> None:
    for one, two in zip(results, others, strict=True):
        torch.testing.assert_close(one.losses, two.losses)
        torch.testing.assert_close(one.readings, two.readings, equal_nan=True)
    torch.testing.assert_close(group.stack.parameters, other.stack.parameters)
    torch.testing.assert_close(group.stack.rest, other.stack.rest)


@pytest.mark.parametrize("kind", [Normalized, InPlace, Patches])
def test_passes_of_few_replicas_give_the_steps_of_one_pass_of_all(kind, monkeypatch):
    """Also if the first layer gathers batches one by one, and parameters are updated one by one."""
    whole = group_of(kind)
    expected = trained(whole)
    for cache, large in ((1600, updates.LARGE), (1, 1)):
        monkeypatch.setattr(memory, "CACHE", cache)
        monkeypatch.setattr(updates, "CACHE", cache)
        monkeypatch.setattr(updates, "LARGE", large)
        parts = group_of(kind)
        assert replicas_per_pass(parts.stack, parts.batches) < 5
        assert_same(whole, expected, parts, trained(parts))
    parts.batches.begin(1)
    with pytest.raises(AssertionError):  # control: other batches
        assert_same(whole, expected, parts, trained(parts))


@pytest.mark.parametrize("after", [False, True], ids=["at once", "after the pass"])
def test_the_number_of_replicas_in_a_pass_is_halved_when_memory_runs_out(after, monkeypatch):
    """Running averages of batch normalization that were already updated in the failed pass are restored."""
    whole, limited_group, sizes = group_of(), group_of(), []
    expected = trained(whole)

    def limited(stack, rows, *args, **settings):
        sizes.append(len(next(iter(rows.parameters.values()))))
        passed = losses_of(stack, rows, *args, **settings) if sizes[-1] <= 2 or after else None
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return passed

    monkeypatch.setattr(updates, "losses_of", limited)
    assert_same(whole, expected, limited_group, trained(limited_group))
    assert sizes == [5, 2, 3, 1, 2, *[1, 2, 2] * 3]  # 5 fail, then passes of 2 and 3, of which 3 fails
    sizes.clear()

    def measure(stack, loader, spans, precision):
        sizes.append([span.stop - span.start for span in spans])
        if max(sizes[-1]) > 1:
            raise MemoryError
        return (torch.ones(1),)

    samples = SimpleNamespace(largest=16)  # twice the batch size, so that a pass has half as many replicas
    assert limited_group.evaluate(measure, samples) and sizes == [[1] * 5]
    limited_group._replicas_per_pass = 5
    assert limited_group.evaluate(measure, samples) and sizes[1:] == [[1, 2, 2], [1] * 5]


def test_other_errors_and_lack_of_memory_for_one_replica_are_raised(monkeypatch):
    for error in (RuntimeError("shapes cannot be multiplied"), torch.OutOfMemoryError("CUDA out of memory")):
        group, calls = group_of(), []

        def fail(*args, error=error, calls=calls, **settings):
            calls.append(1)
            raise error

        monkeypatch.setattr(updates, "losses_of", fail)
        with pytest.raises(type(error)):
            group.train_step(0, RATE, measured=False)
        assert len(calls) == (3 if isinstance(error, torch.OutOfMemoryError) else 1)  # of 5, of 2, of 1
        calls.clear()
        with pytest.raises(type(error)):
            group_of().evaluate(fail, SimpleNamespace(largest=8))


def test_the_number_of_replicas_in_a_pass_fits_into_the_caches_of_a_cpu(monkeypatch):
    net = nn.Sequential(nn.Linear(4, 50), nn.ReLU(), nn.Linear(50, 3))
    assert largest_activation(net, torch.zeros(2, 4)) == 2 * 50 * 4
    assert largest_activation(nn.Linear(4, 3), torch.zeros(2, 4)) == 0
    group = group_of()
    batch_bytes = largest_activation(group.stack.template, SAMPLES.inputs[:8])
    for cache, size in (
        (1, 1),
        (2 * batch_bytes - 1, 1),
        (2 * batch_bytes, 2),
        (5 * batch_bytes, 5),
        (9 * batch_bytes, 5),
    ):
        monkeypatch.setattr(memory, "CACHE", cache)
        assert replicas_per_pass(group.stack, group.batches) == size
    largest = max(parameter.nbytes for parameter in group.stack.template.parameters())
    for weight, size in ((largest, 5), (largest - 1, 1)):
        monkeypatch.setattr(memory, "WEIGHT", weight)
        assert replicas_per_pass(group.stack, group.batches) == size


@given(st.integers(1, 40), st.integers(1, 40))
def test_slices_are_few_and_of_equal_length(replicas, size):
    spans = spans_of(replicas, size)
    sizes = [span.stop - span.start for span in spans]
    assert [row for span in spans for row in range(replicas)[span]] == [*range(replicas)]
    assert max(sizes) <= size and len(spans) == -(-replicas // size) and max(sizes) - min(sizes) <= 1


def test_out_of_memory_errors_are_recognized():
    says = ("CUDA error: out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")  # fmt: skip
    for error in (torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), *map(RuntimeError, says)):
        assert is_out_of_memory(error)
    assert not is_out_of_memory(ValueError("memory"))
