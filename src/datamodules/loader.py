"""Loaders of data sets in memory: a reproducible random order for training, a fixed order for evaluation."""

from collections.abc import Iterator

import torch

from start_training.datamodules.batch import Batch
from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.samples import Samples


class TrainingLoader:
    """Loader of one rank's training batches, which can resume in the middle of an epoch.

    `state_dict` holds the epoch and the number of batches that have been yielded in it. The first iteration after
    `load_state_dict` continues from this position; all others start at batch 0.

    Args:
        samples: The training set.
        order: Assignment of samples to batches.

    Raises:
        ValueError: on iteration, if the loaded position is in an epoch with other batches, such as another batch size.
    """

    def __init__(self, samples: Samples, order: BatchOrder) -> None:
        self.samples = samples
        self.order = order
        self._epoch = 0
        self._batches = 0
        self._resumed: dict[str, int] = {}

    @property
    def sampler(self) -> "TrainingLoader":
        """This loader itself, because Lightning calls `loader.sampler.set_epoch` before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; discard a loaded position in another epoch."""
        if epoch != self._epoch:
            self._epoch, self._batches, self._resumed = epoch, 0, {}

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, the number of batches yielded, and the settings that determine the order of batches."""
        return {"epoch": self._epoch, "batches": self._batches, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from the position in the `state_dict` of another loader."""
        self._resumed = dict(state)
        self._epoch, self._batches = state["epoch"], state["batches"]

    def check_resumes(self, state: dict[str, int]) -> None:
        """Check that this loader has the batches of another loader, so that it can resume an epoch of the other.

        Args:
            state: `state_dict` of the other loader.

        Raises:
            ValueError: the number of samples, the batch size or the seed differs.
        """
        for name, value in self._identity().items():
            if state[name] != value:
                raise ValueError(f"{name} = {value}: must be {state[name]} to resume the epoch of the checkpoint")

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        # This is a generator, so that nothing runs before the first next(): Lightning calls iter() before set_epoch().
        resumed, self._resumed = self._resumed, {}
        start = resumed.get("batches", 0)
        if start:
            self.check_resumes(resumed)
        order = torch.from_numpy(self.order.permutation(self._epoch))
        order = order.to(self.samples.inputs.device)
        for step in range(start, len(self)):
            # Counted before the yield, because code after a yield runs only at the next call of next().
            self._batches = step + 1
            share = self.samples.take(order[self.order.span(step)])
            yield Batch(share.inputs, share.targets, self.order.weight(step))

    def _identity(self) -> dict[str, int]:
        order = self.order
        return {"samples": order.size, "batch_size": order.batch_size, "seed": order.seed}


class EvaluationLoader:
    """Loader of one rank's contiguous block of a set, in batches of about batch_size / ranks samples.

    Every sample is on exactly one rank. Every rank has the same number of batches, none of them empty, so that all
    ranks enter collectives equally often. Blocks and batches differ in size by at most one sample.

    Args:
        samples: The whole set, the same on all ranks.
        batch_size: Number of samples in the batches of all ranks together.
        ranks: Number of processes.
        rank: Rank of this process.
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
        """Number of samples in the largest batch."""
        return -(-self._size // self._chunks)

    def __iter__(self) -> Iterator[Batch]:
        for chunk in range(self._chunks):
            rows = slice(self._edge(chunk), self._edge(chunk + 1))
            yield Batch(self.samples.inputs[rows], self.samples.targets[rows])

    def _edge(self, chunk: int) -> int:
        return self._first + self._size * chunk // self._chunks
