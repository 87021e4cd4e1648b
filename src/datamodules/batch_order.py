"""Which samples are in which batch: a pure function of (seed, epoch, step), for any number of ranks."""

from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BatchOrder:
    """The global batches of every epoch, and one rank's share of each.

    Batch `step` of an epoch is permutation[step * batch_size : (step + 1) * batch_size]; of its n samples rank r has
    those from n r // ranks up to n (r + 1) // ranks. A short last batch is dropped on all ranks if it has fewer samples
    than there are ranks.

    Args:
        size: Number of training samples.
        batch_size: Samples of a global batch.
        seed: Determines the permutation of each epoch.
        ranks: Number of processes.
        rank: Which of them this is.

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
            raise ValueError(f"batch_size = {self.batch_size}: larger than the {self.size} training samples")
        if self.batch_size < self.ranks:
            raise ValueError(f"batch_size = {self.batch_size}: smaller than the number of ranks, {self.ranks}")

    def __len__(self) -> int:
        """Batches per epoch, the same on every rank."""
        return self.size // self.batch_size + (self.size % self.batch_size >= self.ranks)

    @property
    def dropped(self) -> int:
        """Samples of each epoch that are in no batch."""
        return max(0, self.size - len(self) * self.batch_size)

    def permutation(self, epoch: int) -> NDArray[np.int64]:
        """The order of all samples in an epoch, (size,)."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.size)

    def span(self, step: int) -> slice:
        """The slice of the permutation that is this rank's share of batch `step`."""
        start, n = step * self.batch_size, self._batch(step)
        return slice(start + n * self.rank // self.ranks, start + n * (self.rank + 1) // self.ranks)

    def share(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Indices of this rank's samples in global batch `step`."""
        return self.permutation(epoch)[self.span(step)]

    def weight(self, step: int) -> float:
        """ranks · n_rank / n, which makes DDP's mean over ranks the mean over samples; n is the size of the batch."""
        span = self.span(step)
        return self.ranks * (span.stop - span.start) / self._batch(step)

    def _batch(self, step: int) -> int:
        """n, the size of global batch `step`."""
        return min(self.batch_size, self.size - step * self.batch_size)
