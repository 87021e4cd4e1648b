"""A labelled data set in memory, as two tensors."""

from typing import NamedTuple

import torch
from torch import Tensor


class Samples(NamedTuple):
    """A labelled data set of B samples.

    Args:
        inputs: Shape (B, …).
        targets: Class numbers, shape (B,).
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
