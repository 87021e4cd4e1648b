"""What a loader yields: one rank's share of a global batch."""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """One rank's share of a global batch.

    Args:
        inputs: Shape (n, …), float32.
        targets: Class numbers, shape (n,), int64.
        weight: Factor on the rank's mean loss, so that DDP's average over ranks is the mean over the global batch.
    """

    inputs: Tensor
    targets: Tensor
    weight: float = 1.0

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`; this object itself if it is there already, which saves Lightning work."""
        if self.inputs.device == device and self.targets.device == device:
            return self
        return Batch(self.inputs.to(device), self.targets.to(device), self.weight)
