"""Buffer of losses and length measurements that are still on the device."""

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
    readings: Tensor | None  # (R, numbers) if lengths were measured


class StepBuffer:
    """Collects losses and measurements of consecutive steps of a group, to copy them from the device together."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self.names: tuple[str, ...] = ()  # names of the measured layers

    def add(self, step: int, samples: int, losses: Tensor, readings: Tensor | None) -> None:
        """Add the results of a training step.

        Args:
            step: The number of the step.
            samples: The number of samples in each replica's batch.
            losses: The losses before the update, shape (R,).
            readings: Measured lengths, shape (R, numbers), if measured in this step; see `pack_statistics`.
        """
        self._steps.append(_Step(step, samples, losses, readings))

    def distribute(self, replicas: Sequence[Replica]) -> None:
        """Pass each replica its losses and measurements, up to its first non-finite loss, and empty the buffer."""
        steps, self._steps = self._steps, []
        if not steps:
            return
        losses = torch.stack([step.losses for step in steps]).cpu().T
        samples = [float(step.samples) for step in steps]
        finite, by_replica = losses.isfinite().all(1).tolist(), losses.tolist()
        measured = [index for index, step in enumerate(steps) if step.readings is not None]
        on_device = [step.readings for step in steps if step.readings is not None]
        readings = torch.stack(on_device).cpu().numpy() if on_device else None
        for row, replica in enumerate(replicas):
            end = len(steps) if finite[row] else _steps_until_divergence(losses[row])
            if readings is not None:
                pairs = [(steps[index].step, by_replica[row][index]) for index in measured if index < end]
                self._send_lengths(replica, pairs, readings[: len(pairs), row])
            replica.add_losses(steps[0].step, by_replica[row][:end], samples[:end])

    def _send_lengths(self, replica: Replica, measured: list[tuple[int, float]], readings: NDArray[np.float64]) -> None:
        steps = [StepRecord(step, replica.current_epoch, float(replica.rate(step)), loss) for step, loss in measured]
        for callback in replica.callbacks:
            if isinstance(callback, LengthsCallback):
                callback.group_lengths(self.names, steps, readings)


def _steps_until_divergence(losses: Tensor) -> int:
    diverged = (~losses.isfinite()).nonzero()
    return int(diverged[0]) + 1 if len(diverged) else len(losses)
