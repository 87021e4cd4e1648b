"""What the passes of an epoch have left on the device: losses, and readings of lengths."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from start_training.replicas.replica import Replica
from start_training.runs.length_tables import StepRecord


class _Pass(NamedTuple):
    step: int
    samples: int
    losses: Tensor  # (R,)
    readings: Tensor | None  # (R, numbers), where lengths were measured


class StepBuffer:
    """Passes of the same replicas, one after the other; `share` brings them off the device, all at once."""

    def __init__(self) -> None:
        self._passes: list[_Pass] = []
        self.names: tuple[str, ...] = ()  # of the measured layers

    def add(self, step: int, samples: int, losses: Tensor, readings: Tensor | None) -> None:
        """The pass before the update `step`, over so many samples of each replica."""
        self._passes.append(_Pass(step, samples, losses, readings))

    def share(self, replicas: Sequence[Replica]) -> None:
        """Give each replica what is its own, up to a pass whose loss is not finite."""
        passes, self._passes = self._passes, []
        if not passes:
            return
        losses = torch.stack([each.losses for each in passes]).cpu().T
        samples = [float(each.samples) for each in passes]
        finite, of_each = losses.isfinite().all(1).tolist(), losses.tolist()
        measured = [index for index, each in enumerate(passes) if each.readings is not None]
        read = [each.readings for each in passes if each.readings is not None]
        readings = torch.stack(read).cpu().numpy() if read else None
        for row, replica in enumerate(replicas):
            end = len(passes) if finite[row] else _end(losses[row])
            if readings is not None:
                kept = [index for index in measured if index < end]
                steps = [_step(replica, passes[index].step, of_each[row][index]) for index in kept]
                replica.lengths.add(self.names, steps, readings[: len(kept), row])
            replica.note(passes[0].step, of_each[row][:end], samples[:end])


def _step(replica: Replica, step: int, loss: float) -> StepRecord:
    return StepRecord(step, replica.current_epoch, float(replica.rate(step)), loss)


def _end(losses: Tensor) -> int:
    """How many passes there are up to the first whose loss is not finite, that one among them."""
    broken = (~losses.isfinite()).nonzero()
    return int(broken[0]) + 1 if len(broken) else len(losses)
