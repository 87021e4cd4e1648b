"""Each replica's batches are those of its own seed's order."""

import pytest
import torch

from src.datamodules.batch_order import BatchOrder
from src.datamodules.samples import Samples
from src.replicas.batches import Batches

SAMPLES = Samples(torch.arange(46.0).view(23, 2), torch.arange(23))


def batches(*seeds: int, batch_size: int = 5) -> Batches:
    return Batches(SAMPLES, [BatchOrder(23, batch_size, seed=seed) for seed in seeds])


@pytest.mark.parametrize("kept", [None, [2, 0], [1]])
def test_batches_are_those_of_each_ones_order(kept):
    of_all = batches(0, 7, 3)
    for epoch in (0, 4):
        of_all.begin(epoch)
        if kept and epoch:
            of_all.keep(kept)
        for step in range(len(of_all)):
            taken = of_all.take(step, slice(0, 3))
            rows = [order.share(epoch, step) for order in of_all.orders]
            index = torch.stack([torch.from_numpy(each) for each in rows])
            assert torch.equal(taken.targets, SAMPLES.targets[index])
            assert torch.equal(taken.inputs, SAMPLES.inputs[index])
            assert not taken.shared
            assert of_all.size(step) == index.shape[1] == (3 if step == 4 else 5)
    assert [order.seed for order in of_all.orders] == ([0, 7, 3] if kept is None else [[0, 7, 3][row] for row in kept])


def test_a_slice_has_its_own_rows():
    of_all = batches(0, 7, 3)
    of_all.begin(0)
    whole = of_all.take(1, slice(0, 3)).targets
    assert torch.equal(of_all.take(1, slice(1, 3)).targets, whole[1:])
    assert not torch.equal(whole[1], whole[0])


def test_replicas_of_one_seed_share_a_batch():
    of_all = batches(3, 3)
    of_all.begin(2)
    taken = of_all.take(0, slice(0, 2))
    assert taken.shared
    assert torch.equal(taken.targets, torch.from_numpy(BatchOrder(23, 5, seed=3).share(2, 0)))
    assert taken.inputs.shape == (5, 2)


def test_the_memory_of_a_batch_is_that_of_the_next():
    of_all = batches(0, 1)
    of_all.begin(0)
    first = of_all.take(0, slice(0, 2)).inputs
    assert of_all.take(1, slice(0, 2)).inputs.data_ptr() == first.data_ptr()
    assert of_all.take(4, slice(0, 1)).inputs.data_ptr() == first.data_ptr()
