"""The batches of each replica follow the order of its seed."""

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
def test_batches_follow_the_order_of_each_replica(seeds, size, batch_size, epoch, data):
    """Also for slices of replicas and after replicas are dropped; replicas with the same seed share batches."""
    group = batches(*seeds, size=size, batch_size=batch_size)
    group.begin(epoch)
    assert len(group) == -(-size // batch_size)
    for step in range(len(group)):
        first = data.draw(st.integers(0, len(seeds) - 1))
        inputs, targets = group.gather(step, slice(first, len(seeds)))
        rows = [BatchOrder(size, batch_size, seed=seed).share(epoch, step) for seed in seeds[first:]]
        index = torch.stack([torch.from_numpy(row) for row in rows])
        assert group.shared is (len(set(seeds)) == 1) or step > 0
        index = index[0] if group.shared else index
        assert torch.equal(targets, group.samples.targets[index])
        assert torch.equal(inputs, group.samples.inputs[index])
        assert group.size(step) == index.shape[-1]
        if step == 0:
            stay = data.draw(st.lists(st.sampled_from(range(len(seeds))), min_size=1, unique=True))
            group.keep(stay)
            seeds = [seeds[row] for row in stay]


def test_batches_reuse_memory():
    group = batches(0, 1)
    group.begin(0)
    first, _ = group.gather(0, slice(0, 2))
    assert group.gather(1, slice(0, 2))[0].data_ptr() == first.data_ptr()
    assert group.gather(4, slice(0, 1))[0].data_ptr() == first.data_ptr()
