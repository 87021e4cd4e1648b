"""Training batches of all replicas at a step, each drawn in the order given by the replica's seed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.samples import Samples


class GroupBatches:
    """Training batches of replicas that share a training set and a batch size.

    Args:
        samples: The training set, on the device.
        orders: The order of batches of each replica.
    """

    def __init__(self, samples: Samples, orders: Sequence[BatchOrder]) -> None:
        self.samples = samples
        self.orders = list(orders)
        self._memory = samples.inputs.new_empty(0, *samples.inputs.shape[1:])
        self._seeds = list(dict.fromkeys(order.seed for order in orders))
        self._permutations = torch.empty(0)  # (seeds, samples), of the current epoch
        self._assign()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.orders[0])

    def begin(self, epoch: int) -> None:
        """Begin an epoch: copy the permutations of the samples to the device."""
        orders = {order.seed: order for order in self.orders}
        self._seeds = list(orders)
        permutations = [torch.from_numpy(order.permutation(epoch)) for order in orders.values()]
        self._permutations = torch.stack(permutations).to(self.samples.targets.device)
        self._assign()

    @property
    def shared(self) -> bool:
        """Whether all replicas have the same batches."""
        return len(self._seeds) == 1

    def gather(self, step: int, replicas: slice) -> tuple[Tensor, Tensor]:
        """Gather batch number `step` of the epoch for k replicas.

        The next call overwrites the inputs, since allocating them anew takes longer than gathering them.

        Returns:
            Inputs (k, samples, …) and targets (k, samples); without the first axis if the batches are `shared`.
        """
        rows = self._permutations[:, self.orders[0].span(step)] if self.shared else self.index(step, replicas)
        index = rows.flatten()
        if len(self._memory) < len(index):
            self._memory = self._memory.new_empty(len(index), *self._memory.shape[1:])
        inputs = torch.index_select(self.samples.inputs, 0, index, out=self._memory[: len(index)])
        targets = self.targets(rows)
        if self.shared:
            return inputs, targets.squeeze(0)
        return inputs.unflatten(0, rows.shape), targets

    def index(self, step: int, replicas: slice) -> Tensor:
        """Return the indices of the samples in batch number `step` of k replicas, shape (k, samples)."""
        return self._permutations[:, self.orders[0].span(step)].index_select(0, self._seed_of[replicas])

    def targets(self, index: Tensor) -> Tensor:
        """Return the targets of the samples with the given indices, in the shape of `index`."""
        return self.samples.targets.index_select(0, index.flatten()).unflatten(0, index.shape)

    def size(self, step: int) -> int:
        """Return the number of samples in batch number `step` of an epoch."""
        span = self.orders[0].span(step)
        return span.stop - span.start

    def keep(self, rows: Sequence[int]) -> None:
        """Keep the replicas with the given indices, and drop all others."""
        self.orders = [self.orders[row] for row in rows]
        self._assign()

    def _assign(self) -> None:
        seeds = [self._seeds.index(order.seed) for order in self.orders]
        self._seed_of = torch.tensor(seeds, device=self.samples.targets.device)
