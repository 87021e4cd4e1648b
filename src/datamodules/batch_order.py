"""Assignment of samples to batches as a pure function of (seed, epoch, step), for any number of ranks."""

from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BatchOrder:
    """The order of the samples in every epoch, and the share of each global batch that one rank processes.

    Batch `step` of an epoch is permutation[step * batch_size : (step + 1) * batch_size]. Rank r processes its samples
    n r // ranks up to n (r + 1) // ranks, where n is the number of samples in the batch. A short last batch is dropped
    on all ranks if it has fewer samples than there are ranks.

    Args:
        size: Number of training samples.
        batch_size: Number of samples in a global batch.
        seed: Seed of the permutation of each epoch.
        ranks: Number of processes.
        rank: Rank of this process.

    Raises:
        ValueError: batch_size is above size or below ranks.

    Example:
        >>> order = BatchOrder(size=10, batch_size=4)
        >>> len(order), [len(order.share(epoch=0, step=step)) for step in range(3)]
        (3, [4, 4, 2])
    """

    size: int
    batch_size: int
    _: KW_ONLY
    seed: int = 0
    ranks: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        assert 0 <= self.rank < self.ranks
        if self.batch_size > self.size:
            raise ValueError(
                f"batch_size = {self.batch_size}: must be at most {self.size}, the size of the training set"
            )
        if self.batch_size < self.ranks:
            raise ValueError(f"batch_size = {self.batch_size}: must be at least {self.ranks}, the number of ranks")

    def __len__(self) -> int:
        """Number of batches per epoch, the same on every rank."""
        return self.size // self.batch_size + (self.size % self.batch_size >= self.ranks)

    @property
    def dropped(self) -> int:
        """Number of samples that are in no batch of an epoch."""
        return max(0, self.size - len(self) * self.batch_size)

    def permutation(self, epoch: int) -> NDArray[np.int64]:
        """Return the order of all samples in an epoch, shape (size,)."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.size)

    def span(self, step: int) -> slice:
        """Return the slice of the epoch's permutation that holds this rank's samples of global batch `step`."""
        start, n = step * self.batch_size, self._batch(step)
        return slice(start + n * self.rank // self.ranks, start + n * (self.rank + 1) // self.ranks)

    def share(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Return the indices of this rank's samples in global batch `step` of an epoch."""
        return self.permutation(epoch)[self.span(step)]

    def weight(self, step: int) -> float:
        """Return the factor on this rank's mean loss with which DDP's mean over ranks is the mean over the batch.

        It is ranks · n_rank / n for n_rank of the batch's n samples on this rank.
        """
        span = self.span(step)
        return self.ranks * (span.stop - span.start) / self._batch(step)

    def _batch(self, step: int) -> int:
        """Return the number of samples in global batch `step`."""
        return min(self.batch_size, self.size - step * self.batch_size)
