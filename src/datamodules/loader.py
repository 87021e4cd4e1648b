"""Iterating over tensors in memory: training in a reproducible order, evaluation in a fixed one."""

from collections.abc import Iterator

import torch

from start_training.datamodules.batch import Batch
from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.samples import Samples


class TrainingLoader:
    """One rank's batches of an epoch, in the order that `order` states; resumes in mid-epoch.

    `state_dict` says how many batches of which epoch have been yielded. The first iteration after
    `load_state_dict` continues there; every other one starts at batch 0.
    Raises ValueError where it should continue in an epoch whose batches were others.
    """

    def __init__(self, samples: Samples, order: BatchOrder) -> None:
        self.samples = samples
        self.order = order
        self._epoch = 0
        self._batches = 0
        self._resumed: dict[str, int] = {}

    @property
    def sampler(self) -> "TrainingLoader":
        """Lightning announces each epoch to `loader.sampler.set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """What the next iteration goes through; a position in another epoch is forgotten."""
        if epoch != self._epoch:
            self._epoch, self._batches, self._resumed = epoch, 0, {}

    def state_dict(self) -> dict[str, int]:
        """The position (epoch, batches), and what the order of the batches depends on."""
        return {"epoch": self._epoch, "batches": self._batches, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take the position of another loader of the same set."""
        self._resumed = dict(state)
        self._epoch, self._batches = state["epoch"], state["batches"]

    def check_resumes(self, state: dict[str, int]) -> None:
        """Raises ValueError where the epoch that `state` stopped in had other batches than these."""
        for name, now in self._identity().items():
            if state[name] != now:
                raise ValueError(f"{name} = {now}: the checkpoint stopped in mid-epoch with {state[name]}")

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        # a generator, so that nothing runs before the first next(): Lightning calls iter() first
        # and tells the epoch afterwards
        start = self._start()
        order = torch.from_numpy(self.order.permutation(self._epoch))
        order = order.to(self.samples.inputs.device)
        for step in range(start, len(self)):
            # counted before the yield: what follows a yield waits for the next next()
            self._batches = step + 1
            share = self.samples.take(order[self.order.span(step)])
            yield Batch(share.inputs, share.targets, self.order.weight(step))

    def _start(self) -> int:
        """The first step of this iteration: 0, or where a loaded state left off."""
        resumed, self._resumed = self._resumed, {}
        if resumed.get("batches"):
            self.check_resumes(resumed)
        return resumed.get("batches", 0)

    def _identity(self) -> dict[str, int]:
        order = self.order
        return {"samples": order.size, "batch_size": order.batch_size, "seed": order.seed}


class EvaluationLoader:
    """One rank's contiguous block of a set, in chunks of about batch_size / ranks samples.

    Every rank has the same number of chunks, none empty, so collectives stay in step; every
    sample is on exactly one rank. Blocks and chunks differ in size by at most one sample.
    """

    def __init__(self, samples: Samples, batch_size: int, *, ranks: int = 1, rank: int = 0) -> None:
        assert samples.size >= ranks > rank >= 0
        self._first = samples.size * rank // ranks
        self._size = samples.size * (rank + 1) // ranks - self._first
        smallest, largest = samples.size // ranks, -(-samples.size // ranks)
        self._chunks = min(smallest, -(-largest // max(1, batch_size // ranks)))
        self.samples = samples

    def __len__(self) -> int:
        return self._chunks

    @property
    def largest(self) -> int:
        """Samples of its largest chunk."""
        return -(-self._size // self._chunks)

    def __iter__(self) -> Iterator[Batch]:
        for chunk in range(self._chunks):
            rows = slice(self._edge(chunk), self._edge(chunk + 1))
            yield Batch(self.samples.inputs[rows], self.samples.targets[rows])

    def _edge(self, chunk: int) -> int:
        return self._first + self._size * chunk // self._chunks
