"""Record the time that a run spends in training, without data loading before it and testing after it."""

import time
from typing import Any

import pytorch_lightning as pl

from start_training.annotations import check_type


class TrainingTime(pl.Callback):
    """Record the wall-clock time from the first step to the end of the last epoch as `training_seconds`.

    The entry is added to summary.json. It includes validation, other callbacks, and, in a resumed run, the time before
    the interruption.
    """

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """The training time so far, in seconds."""
        return self._before + (0.0 if self._since is None else time.monotonic() - self._since)

    def summary(self) -> dict[str, Any]:
        return {"training_seconds": round(self.seconds, 3)}

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        check_type("seconds", state_dict["seconds"], float)
        self._before = state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before, self._since = self.seconds, None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._before, self._since = self.seconds, None
