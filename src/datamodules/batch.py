"""What a loader yields."""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """One rank's share of a global batch.

    inputs (n, ...) float32, targets (n,) int64. A rank multiplies its mean loss by `weight`;
    the average over ranks that DDP takes is then the mean over the global batch.
    """

    inputs: Tensor
    targets: Tensor
    weight: float = 1.0

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`; itself where it is there already, which spares Lightning a look into it."""
        if self.inputs.device == device and self.targets.device == device:
            return self
        return Batch(self.inputs.to(device), self.targets.to(device), self.weight)
