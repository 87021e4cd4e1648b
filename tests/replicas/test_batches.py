"""Each replica's batches are those of its own seed's order."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.samples import Samples
from start_training.replicas.batches import GroupBatches


def batches(*seeds: int, size: int = 23, batch_size: int = 5) -> GroupBatches:
    samples = Samples(torch.arange(2.0 * size).view(size, 2), torch.arange(size))
    return GroupBatches(samples, [BatchOrder(size, batch_size, seed=seed) for seed in seeds])


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(6, 23), st.integers(1, 6), st.integers(0, 5),
    st.data(),
)  # fmt: skip
def test_batches_are_those_of_each_ones_order(seeds, size, batch_size, epoch, data):
    """Also of those that stay, after others have gone in mid-epoch, and of a slice of them; one for all of one seed."""
    of_all = batches(*seeds, size=size, batch_size=batch_size)
    of_all.begin(epoch)
    assert len(of_all) == -(-size // batch_size)
    for step in range(len(of_all)):
        first = data.draw(st.integers(0, len(seeds) - 1))
        inputs, targets = of_all.gather(step, slice(first, len(seeds)))
        rows = [BatchOrder(size, batch_size, seed=seed).share(epoch, step) for seed in seeds[first:]]
        index = torch.stack([torch.from_numpy(row) for row in rows])
        assert of_all.shared is (len(set(seeds)) == 1) or step > 0
        index = index[0] if of_all.shared else index
        assert torch.equal(targets, of_all.samples.targets[index])
        assert torch.equal(inputs, of_all.samples.inputs[index])
        assert of_all.size(step) == index.shape[-1]
        if step == 0:
            stay = data.draw(st.lists(st.sampled_from(range(len(seeds))), min_size=1, unique=True))
            of_all.keep(stay)
            seeds = [seeds[row] for row in stay]


def test_the_memory_of_a_batch_is_that_of_the_next():
    of_all = batches(0, 1)
    of_all.begin(0)
    first, _ = of_all.gather(0, slice(0, 2))
    assert of_all.gather(1, slice(0, 2))[0].data_ptr() == first.data_ptr()
    assert of_all.gather(4, slice(0, 1))[0].data_ptr() == first.data_ptr()
