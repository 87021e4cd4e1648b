"""Reduce the norms measured in a forward pass to the statistics of its layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from start_training.lengths.activation_length import lengths_of_layers
from start_training.lengths.capture import LayerReading
from start_training.lengths.statistics import pack_statistics

KEPT = 16  # sets of divisors; nets whose layers change their sizes at every step must not fill the memory


class PassStatistics:
    """Computes the packed statistics of forward passes, and keeps tensors that the next pass can use again.

    Example:
        >>> reading = LayerReading("input", (torch.tensor([3.0, 4.0]), 2))
        >>> PassStatistics()([reading]).tolist()[:2]  # count and mean length
        [2.0, 6.25]
    """

    def __init__(self) -> None:
        self._divisors: dict[tuple[int, ...], Tensor] = {}  # copying them to a GPU at each step would wait for it
        self._memory = torch.empty(2, 0, 0, dtype=torch.float64)  # workspace, (2, layers, samples)

    def __call__(self, readings: Sequence[LayerReading]) -> Tensor:
        """Return the `pack_statistics` of a pass whose readings are norms, on their device."""
        norms, values = zip(*(reading.lengths for reading in readings), strict=True)
        sampled = [reading.sampled for reading in readings]
        if len({layer.shape[0] for layer in norms}) > 1 or not all(sampled):
            lengths = [layer.double().square().div(count) for layer, count in zip(norms, values, strict=True)]
            return pack_statistics(lengths, sampled=sampled)
        # All layers at once are four times as fast as layer by layer.
        device, shape = norms[0].device, (2, len(norms), norms[0].shape[0])
        divisors = self._divisors.get(values)
        if divisors is None or divisors.device != device:
            if len(self._divisors) >= KEPT:
                self._divisors.clear()
            divisors = self._divisors[values] = torch.tensor(values, dtype=torch.float64, device=device)
        if self._memory.shape != shape or self._memory.device != device:
            self._memory = torch.empty(shape, dtype=torch.float64, device=device)
        lengths, work = self._memory
        return pack_statistics(lengths_of_layers(norms, divisors, out=lengths), work)
