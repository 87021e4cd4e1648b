"""Losses and readings of lengths that are still on the device."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from start_training.callbacks.contracts import LengthsCallback
from start_training.replicas.replica import Replica
from start_training.runs.length_tables import StepRecord


class _Step(NamedTuple):
    step: int
    samples: int
    losses: Tensor  # (R,)
    readings: Tensor | None  # (R, numbers), where lengths were measured


class StepBuffer:
    """Consecutive steps of a group; `share` copies them from the device all at once."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self.names: tuple[str, ...] = ()  # of the measured layers

    def add(self, step: int, samples: int, losses: Tensor, readings: Tensor | None) -> None:
        """Add the losses (R,) before the update `step` on batches of so many samples, and readings (R, numbers)."""
        self._steps.append(_Step(step, samples, losses, readings))

    def share(self, replicas: Sequence[Replica]) -> None:
        """Give each replica its row, up to and with the first loss that is not finite, and empty the buffer."""
        steps, self._steps = self._steps, []
        if not steps:
            return
        losses = torch.stack([each.losses for each in steps]).cpu().T
        samples = [float(each.samples) for each in steps]
        finite, by_replica = losses.isfinite().all(1).tolist(), losses.tolist()
        measured = [index for index, each in enumerate(steps) if each.readings is not None]
        read = [each.readings for each in steps if each.readings is not None]
        readings = torch.stack(read).cpu().numpy() if read else None
        for row, replica in enumerate(replicas):
            end = len(steps) if finite[row] else _end(losses[row])
            if readings is not None:
                kept = [(steps[index].step, by_replica[row][index]) for index in measured if index < end]
                self._hand_out(replica, kept, readings[: len(kept), row])
            replica.note(steps[0].step, by_replica[row][:end], samples[:end])

    def _hand_out(self, replica: Replica, measured: list[tuple[int, float]], readings: NDArray[np.float64]) -> None:
        steps = [StepRecord(step, replica.current_epoch, float(replica.rate(step)), loss) for step, loss in measured]
        for callback in replica.callbacks:
            if isinstance(callback, LengthsCallback):
                callback.group_lengths(self.names, steps, readings)


def _end(losses: Tensor) -> int:
    """The number of steps up to and with the first whose loss is not finite."""
    broken = (~losses.isfinite()).nonzero()
    return int(broken[0]) + 1 if len(broken) else len(losses)
