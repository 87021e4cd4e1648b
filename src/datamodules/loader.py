"""Loaders of tensors in memory: training in a reproducible order, evaluation in a fixed order."""

from collections.abc import Iterator

import torch

from start_training.datamodules.batch import Batch
from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.samples import Samples


class TrainingLoader:
    """One rank's batches of an epoch, in the order that `order` states; resumes in mid-epoch.

    `state_dict` holds the epoch and the number of its batches that have been yielded. The first iteration after
    `load_state_dict` continues from there; all others start at batch 0.

    Args:
        samples: The training set.
        order: Which samples are in which batch.

    Raises:
        ValueError: when it is to continue in an epoch whose batches differ, as another batch size makes them.
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
        """Set the epoch of the next iteration, and discard a position within another epoch."""
        if epoch != self._epoch:
            self._epoch, self._batches, self._resumed = epoch, 0, {}

    def state_dict(self) -> dict[str, int]:
        """The position (epoch, batches), and the settings that determine the order of the batches."""
        return {"epoch": self._epoch, "batches": self._batches, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at the position of another loader of the same set."""
        self._resumed = dict(state)
        self._epoch, self._batches = state["epoch"], state["batches"]

    def check_resumes(self, state: dict[str, int]) -> None:
        """Raise a ValueError if the batches of the epoch that `state` stopped in differ from those of this loader."""
        for name, now in self._identity().items():
            if state[name] != now:
                raise ValueError(f"{name} = {now}: the checkpoint stopped in mid-epoch with {state[name]}")

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        # a generator, so that nothing runs before the first next(): Lightning calls iter() first
        # and set_epoch() afterwards
        resumed, self._resumed = self._resumed, {}
        start = resumed.get("batches", 0)
        if start:
            self.check_resumes(resumed)
        order = torch.from_numpy(self.order.permutation(self._epoch))
        order = order.to(self.samples.inputs.device)
        for step in range(start, len(self)):
            # counted before the yield: code after a yield runs only at the next call of next()
            self._batches = step + 1
            share = self.samples.take(order[self.order.span(step)])
            yield Batch(share.inputs, share.targets, self.order.weight(step))

    def _identity(self) -> dict[str, int]:
        order = self.order
        return {"samples": order.size, "batch_size": order.batch_size, "seed": order.seed}


class EvaluationLoader:
    """One rank's contiguous block of a set, in chunks of about batch_size / ranks samples.

    Every rank has the same number of chunks, none of them empty, so that all ranks enter collectives equally often.
    Every sample is on exactly one rank. Blocks and chunks differ in size by at most one sample.

    Args:
        samples: The whole set, the same on all ranks.
        batch_size: Samples of a chunk on all ranks together.
        ranks: Number of processes.
        rank: Which of them this is.
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
        """Number of samples of the largest chunk."""
        return -(-self._size // self._chunks)

    def __iter__(self) -> Iterator[Batch]:
        for chunk in range(self._chunks):
            rows = slice(self._edge(chunk), self._edge(chunk + 1))
            yield Batch(self.samples.inputs[rows], self.samples.targets[rows])

    def _edge(self, chunk: int) -> int:
        return self._first + self._size * chunk // self._chunks
