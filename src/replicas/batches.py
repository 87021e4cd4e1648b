"""The batches of all replicas at a step, each in the order of its own seed."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from src.datamodules.batch_order import BatchOrder
from src.datamodules.samples import Samples


class Taken(NamedTuple):
    """Batches of some replicas: inputs (k, samples, …), targets (k, samples); shared: one for all, without the k."""

    inputs: Tensor
    targets: Tensor
    shared: bool


class Batches:
    """Of replicas that train on the same samples, in batches of the same size. What `take` gives is overwritten by the
    next: to allocate the batches of thirty replicas anew takes longer than to gather them."""

    def __init__(self, samples: Samples, orders: Sequence[BatchOrder]) -> None:
        self.samples = samples
        self.orders = list(orders)
        self._memory = samples.inputs.new_empty(0, *samples.inputs.shape[1:])
        self._epoch = -1
        self._permutations: dict[int, Tensor] = {}  # by seed

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.orders[0])

    def begin(self, epoch: int) -> None:
        """Go to an epoch; the only moment at which anything is sent to the device."""
        if epoch != self._epoch:
            self._permutations = {}
        self._epoch = epoch
        device = self.samples.targets.device
        for order in self.orders:
            if order.seed not in self._permutations:
                self._permutations[order.seed] = torch.from_numpy(order.permutation(epoch)).to(device)

    def take(self, step: int, replicas: slice) -> Taken:
        """Batch `step` of the epoch, of each of these replicas."""
        orders = self.orders[replicas]
        span = orders[0].span(step)
        seeds = [order.seed for order in orders]
        shared = len(set(seeds)) == 1
        rows = [self._permutations[seed][span] for seed in (seeds[:1] if shared else seeds)]
        index = torch.cat(rows)
        if len(self._memory) < len(index):
            self._memory = self._memory.new_empty(len(index), *self._memory.shape[1:])
        inputs = torch.index_select(self.samples.inputs, 0, index, out=self._memory[: len(index)])
        targets = self.samples.targets.index_select(0, index)
        if shared:
            return Taken(inputs, targets, True)
        shape = (len(orders), span.stop - span.start)
        return Taken(inputs.unflatten(0, shape), targets.unflatten(0, shape), False)

    def size(self, step: int) -> int:
        """Samples in batch `step`."""
        span = self.orders[0].span(step)
        return span.stop - span.start

    def keep(self, rows: Sequence[int]) -> None:
        """Let the other replicas go."""
        self.orders = [self.orders[row] for row in rows]
