"""The batches that loaders yield."""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """The samples of a global batch that one rank processes.

    Args:
        inputs: Shape (n, …), float32.
        targets: Class numbers, shape (n,), int64, or numbers, shape (n, outputs), float32.
        weight: Factor on the rank's mean loss, with which DDP's average over ranks is the mean over the global batch.
    """

    inputs: Tensor
    targets: Tensor
    weight: float = 1.0

    def to(self, device: torch.device) -> "Batch":
        """Move the batch to `device`; return this object itself if it is on `device` already, which saves time."""
        if self.inputs.device == device and self.targets.device == device:
            return self
        return Batch(self.inputs.to(device), self.targets.to(device), self.weight)
