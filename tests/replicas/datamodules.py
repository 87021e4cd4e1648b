"""Datamodules as users write them."""

from typing import Any

import torch

from start_training.datamodules.random_inputs import RandomInputs
from start_training.datamodules.samples import Samples


class Flipped(RandomInputs):
    """Changes batches on their way to the net."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        inputs, *others = batch
        return inputs.flip(-1), *others


class Drawn(RandomInputs):
    """Draws its samples from the process's own stream."""

    def load(self) -> tuple[Samples, Samples]:
        training, test = super().load()
        return Samples(torch.randn_like(training.inputs), training.targets), test
