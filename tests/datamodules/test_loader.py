"""Loaders: batches in the stated order, positions that can be saved, evaluation in step."""

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
def test_batches_follow_the_order_and_a_loaded_position_goes_on_with_the_next_one_once(epoch, stopped):
    first, second = loader(), loader()
    expected = [first.order.share(epoch, step).tolist() for step in range(len(first.order))]
    iterator = iter(first)
    first.sampler.set_epoch(epoch)  # which may be told after iter
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
    second.sampler.set_epoch(epoch + 1)  # begins at its beginning
    assert second.state_dict()["batches"] == 0
    assert targets(second) == targets(loader(epoch=epoch + 1)) != expected


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"batch_size": 5}, "^batch_size = 5: must be 4 to resume the epoch of the checkpoint$"),
        ({"size": 24}, "^samples = 24: must be 23 to resume the epoch of the checkpoint$"),
    ],
)
def test_other_batches_cannot_be_continued_but_a_new_epoch_can_begin(changed, message):
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
def test_evaluation_sees_every_sample_once_in_equally_many_chunks(ranks, more, batch_size):
    size = ranks + more
    loaders = [EvaluationLoader(numbered(size), batch_size, ranks=ranks, rank=rank) for rank in range(ranks)]
    chunks = [targets(each) for each in loaders]
    assert {len(each) for each in chunks} == {len(loaders[0])}
    assert [target for each in chunks for chunk in each for target in chunk] == list(range(size))
    sizes = [[len(chunk) for chunk in each] for each in chunks]
    assert [max(each) for each in sizes] == [loader.largest for loader in loaders]
    assert min(map(min, sizes)) >= 1 and max(map(max, sizes)) <= max(1, batch_size // ranks) + 1
    assert all(max(each) - min(each) <= 1 for each in sizes)
