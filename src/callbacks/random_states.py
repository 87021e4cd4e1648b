"""Make the random numbers of a user's LightningModule a function of seed, epoch and rank, also in resumed runs."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from start_training.models.training_module import epoch_seed
from start_training.ranks import gather


class RandomStates(pl.Callback):
    """Seed torch's global generator at each epoch, and restore its state when a run resumes within one.

    `TrainingModule` does the same itself.

    Args:
        seed: The seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._state: Tensor | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._state is not None:
            torch.set_rng_state(self._state)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed(epoch_seed(self.seed, trainer.current_epoch, trainer.global_rank))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["random_states"] = gather(torch.get_rng_state().to(pl_module.device)).cpu()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        states = checkpoint["random_states"]
        if len(states) == trainer.world_size:
            self._state = states[trainer.global_rank].clone()  # set_rng_state crashes on a view of a larger tensor
