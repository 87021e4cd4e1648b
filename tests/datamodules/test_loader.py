"""Loaders: the order of batches, saved positions, and evaluation on several ranks."""

import json
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.loader import EvaluationLoader, TrainingLoader
from start_training.datamodules.samples import Samples


def numbered(size: int) -> Samples:
    numbers = torch.arange(size)
    return Samples(numbers.float().unsqueeze(1), numbers)


def loader(*, epoch: int = 0, **changed: int) -> TrainingLoader:
    order = {"size": 23, "batch_size": 4, "seed": 1} | changed
    made = TrainingLoader(numbered(order["size"]), BatchOrder(**order))
    made.sampler.set_epoch(epoch)
    return made


def targets(batches) -> list[list[int]]:
    return [batch.targets.tolist() for batch in batches]


@given(st.integers(0, 3), st.integers(0, 6))
def test_batches_follow_the_order_and_a_loaded_position_is_continued_once(epoch, stopped):
    first, second = loader(), loader()
    expected = [first.order.share(epoch, step).tolist() for step in range(len(first.order))]
    iterator = iter(first)
    first.sampler.set_epoch(epoch)  # Lightning calls it after iter()
    batches = list(islice(iterator, stopped))
    assert targets(batches) == expected[:stopped]
    assert all((batch.inputs.squeeze(1) == batch.targets).all() for batch in batches)
    state = json.loads(json.dumps(first.state_dict()))  # plain values only
    second.load_state_dict(state)
    second.sampler.set_epoch(epoch)
    assert second.state_dict() == first.state_dict()
    assert targets(second) == expected[stopped:]
    assert targets(second) == targets(first) == expected
    second.load_state_dict(state)
    second.sampler.set_epoch(epoch + 1)  # discards the position in the other epoch
    assert second.state_dict()["batches"] == 0
    assert targets(second) == targets(loader(epoch=epoch + 1)) != expected


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"batch_size": 5}, "^batch_size = 5: must be 4 to resume the epoch of the checkpoint$"),
        ({"size": 24}, "^samples = 24: must be 23 to resume the epoch of the checkpoint$"),
    ],
)
def test_an_epoch_with_other_batches_cannot_be_resumed_but_a_new_epoch_can_begin(changed, message):
    first = loader()
    next(iter(first))
    second = loader(**changed)
    second.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match=message):
        next(iter(second))
    second.load_state_dict(first.state_dict())
    second.sampler.set_epoch(1)
    assert targets(second) == targets(loader(epoch=1, **changed))


@given(st.integers(1, 5), st.integers(0, 100), st.integers(1, 1000))
def test_evaluation_covers_every_sample_once_with_equally_many_batches_per_rank(ranks, more, batch_size):
    size = ranks + more
    loaders = [EvaluationLoader(numbered(size), batch_size, ranks=ranks, rank=rank) for rank in range(ranks)]
    batches = [targets(loader) for loader in loaders]
    assert {len(of_rank) for of_rank in batches} == {len(loaders[0])}
    assert [target for of_rank in batches for batch in of_rank for target in batch] == list(range(size))
    sizes = [[len(batch) for batch in of_rank] for of_rank in batches]
    assert [max(of_rank) for of_rank in sizes] == [loader.largest for loader in loaders]
    assert min(map(min, sizes)) >= 1 and max(map(max, sizes)) <= max(1, batch_size // ranks) + 1
    assert all(max(of_rank) - min(of_rank) <= 1 for of_rank in sizes)
