"""How long a run trains, without loading, testing and leaving its files."""

import time
from typing import Any

import pytorch_lightning as pl


class TrainingTime(pl.Callback):
    """`training_seconds` in summary.json: wall-clock time from the first step to the end of the last epoch.

    Validation and other callbacks are included. It counts on in a run that is resumed.
    """

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """So far."""
        return self._before + (0.0 if self._since is None else time.monotonic() - self._since)

    def summary(self) -> dict[str, Any]:
        return {"training_seconds": round(self.seconds, 3)}

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before, self._since = self.seconds, None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._before, self._since = self.seconds, None
