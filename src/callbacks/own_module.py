"""What a LightningModule of the user's needs to resume exactly: random states, and metrics written in time."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from start_training.models.training_module import begin_epoch, check_not_empty
from start_training.ranks import gather
from start_training.runs.metrics_file import MetricsFile

INTERVAL = 50  # steps, Lightning's default of `log_every_n_steps`


class OwnModule(pl.Callback):
    """Do for a LightningModule of the user's what `TrainingModule` does itself for runs that resume.

    Torch's global generator is seeded at each epoch, and its state is restored when a run resumes within one. The
    loaders of torch draw the order of their samples from it, too, so that a run that resumes between epochs is the same
    as an uninterrupted one. The metrics of an epoch, and those of its last step, are written to metrics.csv before the
    checkpoint: Lightning writes them after it, and a kill in between would lose them. All loggers get metrics of steps
    once per epoch, or more often, also if an epoch has fewer steps than Lightning's default interval.

    Args:
        seed: The seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._state: Tensor | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._state is not None:
            torch.set_rng_state(self._state)
        settings = vars(trainer)  # Lightning sets it without declaring it
        if settings["log_every_n_steps"] == INTERVAL:
            settings["log_every_n_steps"] = min(INTERVAL, max(1, trainer.num_training_batches))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        begin_epoch(trainer, self.seed, resumed=self._state is not None)
        self._state = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_not_empty(trainer)
        recorded = trainer.fit_loop._results
        metrics = {**recorded.metrics(on_step=True)["log"], **recorded.metrics(on_step=False)["log"]}
        step = trainer.fit_loop.epoch_loop._batches_that_stepped - 1
        for logger in trainer.loggers if metrics else []:
            if isinstance(logger, MetricsFile):
                values = {name: float(value) for name, value in metrics.items()}
                logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=max(step, 0))

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
