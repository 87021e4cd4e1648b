"""Pool what was measured in the batches of training steps over micro-batches and ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from start_training.lengths.statistics import Statistics, pool, unpack_statistics
from start_training.ranks import gather
from start_training.runs.length_tables import MeasuredSteps, StepRecord


@dataclass(frozen=True)
class MeasuredBatch:
    """One forward pass of a batch, whose tensors are still on the device.

    Attributes:
        names: Names of the layers 0 … d.
        numbers: From `pack_statistics`.
        loss: The training loss, one number.
        phase: Name of the forward pass.
        optimizer: Name of the optimizer that steps after its backward pass.
        learning_rate: Its rate.
    """

    step: int
    epoch: int
    names: tuple[str, ...]
    numbers: Tensor
    loss: Tensor
    phase: str
    optimizer: str = ""
    learning_rate: float = math.nan


def pooled_steps(batches: Sequence[MeasuredBatch]) -> list[MeasuredSteps]:
    """Pool batches of the same step and phase, over all ranks, which have to call this function together.

    Args:
        batches: In order of their steps. Batches whose layers have the same names are returned together.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[MeasuredBatch]] = {}
    for batch in batches:
        groups.setdefault((batch.phase, batch.names), []).append(batch)
    return [_pooled(group) for group in groups.values()]


def _pooled(batches: list[MeasuredBatch]) -> MeasuredSteps:
    numbers = torch.stack([batch.numbers for batch in batches])
    losses = torch.stack([batch.loss.reshape(1).to(numbers) for batch in batches])
    gathered = gather(torch.cat([numbers, losses], dim=1)).cpu().numpy()  # (ranks, batches, numbers)
    loss, statistics = gathered[..., -1].mean(0), pool(unpack_statistics(gathered[..., :-1]))
    spans = [[*span] for _, span in groupby(range(len(batches)), key=lambda index: batches[index].step)]
    if len(spans) < len(batches):
        loss = np.array([loss[span].mean() for span in spans])
        of_steps = (pool(Statistics(*(values[span] for values in statistics))) for span in spans)
        statistics = Statistics(*(np.stack(values) for values in zip(*of_steps, strict=True)))
    of_step = [next((batches[index] for index in span if batches[index].optimizer), batches[span[0]]) for span in spans]
    pairs = zip(of_step, loss, strict=True)
    return MeasuredSteps(
        batches[0].names,
        [StepRecord(batch.step, batch.epoch, batch.learning_rate, float(value)) for batch, value in pairs],
        statistics,
        batches[0].phase,
        [batch.optimizer for batch in of_step],
    )
