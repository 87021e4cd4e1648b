"""Custom datamodules for tests of replicas."""

from typing import Any

import torch

from start_training.datamodules.random_inputs import RandomInputs
from start_training.datamodules.samples import Samples


class Flipped(RandomInputs):
    """A datamodule that changes batches before they are transferred."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        inputs, *others = batch
        return inputs.flip(-1), *others


class Drawn(RandomInputs):
    """A datamodule that draws its samples from torch's global generator."""

    def load(self) -> tuple[Samples, Samples]:
        training, test = super().load()
        return Samples(torch.randn_like(training.inputs), training.targets), test
