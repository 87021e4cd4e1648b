"""What a loader yields."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One rank's share of a global batch.

    inputs (n, ...) float32, targets (n,) int64. A rank multiplies its mean loss by `weight`;
    the average over ranks that DDP takes is then the mean over the global batch.
    """

    inputs: Tensor
    targets: Tensor
    weight: float = 1.0
