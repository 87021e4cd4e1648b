"""A callback that reports the validation loss to a trial of Optuna, and ends the run if it is pruned."""

from typing import Any, ClassVar

import pytorch_lightning as pl


class PrunedTrial(pl.Callback):
    """Report val/loss after each epoch to `PrunedTrial.trial`, an optuna.Trial, which may stop the run.

    It stands in a run's config and is built from it, so that the trial is an attribute of the class.
    """

    trial: ClassVar[Any] = None
    tested_after_stop = False

    def __init__(self) -> None:
        self.pruned = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.trial is None:
            return
        self.trial.report(float(trainer.callback_metrics["val/loss"]), trainer.current_epoch + 1)
        if self.trial.should_prune():
            self.pruned = trainer.should_stop = True

    def stop_reason(self) -> str | None:
        return "pruned" if self.pruned else None
