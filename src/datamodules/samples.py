"""A labelled data set in memory, as two tensors."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Samples(NamedTuple):
    """A labelled data set of B samples.

    Args:
        inputs: Shape (B, …).
        targets: Class numbers, shape (B,), or numbers, shape (B, outputs).
    """

    inputs: Tensor
    targets: Tensor

    @property
    def size(self) -> int:
        """The number of samples B."""
        return self.targets.shape[0]

    def take(self, indices: Tensor) -> "Samples":
        """Copy the samples with the given indices, in the order of the indices."""
        # index_select takes a third of the time of indexing by a tensor, because it copies whole rows.
        return Samples(self.inputs.index_select(0, indices), self.targets.index_select(0, indices))

    def to(self, device: torch.device) -> "Samples":
        """Move the samples to `device`, without a copy if they are on it already."""
        return Samples(self.inputs.to(device), self.targets.to(device))


def draw_rows(tensor: Tensor, count: int, generator: np.random.Generator) -> Tensor:
    """Draw rows of a tensor independently and uniformly, with replacement.

    Args:
        tensor: Shape (N, …), on any device.
        count: Number of rows to draw, B.
        generator: Source of the random numbers; the same rows are drawn on every device.

    Returns:
        Shape (B, …).

    Example:
        >>> draw_rows(torch.arange(3), 5, np.random.default_rng(0)).tolist()
        [2, 1, 1, 0, 0]
    """
    rows = torch.from_numpy(generator.integers(len(tensor), size=count))
    return tensor.index_select(0, rows.to(tensor.device))
