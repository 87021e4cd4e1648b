"""The batches of all replicas at a step, each in the order of the replica's seed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.samples import Samples


class GroupBatches:
    """The batches of replicas that train on the same samples, in batches of the same size.

    The inputs that `take` returns are overwritten by its next call: to allocate the batches of thirty replicas anew
    takes longer than to gather them.
    """

    def __init__(self, samples: Samples, orders: Sequence[BatchOrder]) -> None:
        self.samples = samples
        self.orders = list(orders)
        self._memory = samples.inputs.new_empty(0, *samples.inputs.shape[1:])
        self._seeds = list(dict.fromkeys(order.seed for order in orders))
        self._permutations = torch.empty(0)  # (seeds, all samples), of the epoch
        self._assign()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.orders[0])

    def begin(self, epoch: int) -> None:
        """Go to an epoch; copies the orders of its batches to the device."""
        of_seed = {order.seed: order for order in self.orders}
        self._seeds = list(of_seed)
        permutations = [torch.from_numpy(order.permutation(epoch)) for order in of_seed.values()]
        self._permutations = torch.stack(permutations).to(self.samples.targets.device)
        self._assign()

    @property
    def shared(self) -> bool:
        """Whether all replicas have the same batches."""
        return len(self._seeds) == 1

    def take(self, step: int, replicas: slice) -> tuple[Tensor, Tensor]:
        """Inputs (k, samples, …) and targets (k, samples) of batch `step`; without the k where `shared`."""
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
        """The samples of batch `step`, (k, samples)."""
        return self._permutations[:, self.orders[0].span(step)].index_select(0, self._seed_of[replicas])

    def targets(self, index: Tensor) -> Tensor:
        """The targets of samples, in the shape of the index."""
        return self.samples.targets.index_select(0, index.flatten()).unflatten(0, index.shape)

    def size(self, step: int) -> int:
        """The number of samples in batch `step`."""
        span = self.orders[0].span(step)
        return span.stop - span.start

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other replicas."""
        self.orders = [self.orders[row] for row in rows]
        self._assign()

    def _assign(self) -> None:
        of = [self._seeds.index(order.seed) for order in self.orders]
        self._seed_of = torch.tensor(of, device=self.samples.targets.device)
