"""Keep one checkpoint, of every epoch's end and of the moment a signal asks the run to stop."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from src.runs.outcome import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGREE_EVERY = 50  # batches: with several ranks, asking the others at every batch would stall a GPU


class LastCheckpoint(Checkpoint):
    """Writes `path` at the end of every epoch; on the first SIGINT or SIGTERM after the current step, too.

    It then raises `Interrupted`. A second signal ends the run at once, with the checkpoint of the last
    epoch. A `Checkpoint` by class, so that Lightning runs it after all other callbacks, whose state it saves.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._signal = 0
        self._saved_step = -1
        self._handlers: dict[int, Any] = {}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Saved in on_train_epoch_end, a checkpoint calls the epoch processed but not completed. With max_steps,
        # Lightning 2.6.6 then skips the epoch that follows. Say that it is over, and that no batch of the next is.
        loops = checkpoint["loops"]["fit_loop"]
        epoch, batch = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
        if epoch["current"]["processed"] == epoch["current"]["ready"] != epoch["current"]["completed"]:
            for counts in (epoch["total"], epoch["current"]):
                counts["completed"] = counts["processed"]
            batch["current"] = dict.fromkeys(batch["current"], 0)
            batch["is_last_batch"] = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._signal, self._saved_step = 0, -1
        if threading.current_thread() is threading.main_thread():
            self._handlers = {signum: signal.signal(signum, self._on_signal) for signum in SIGNALS}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # the epoch's end sees to it; in mid-accumulation gradients would be lost
        if trainer.should_stop and trainer.fit_loop.epoch_loop.done:
            return  # a callback ends the run here, and thereby the epoch, which has yet to be validated and logged
        if trainer.global_step == trainer.max_steps:
            self._save(trainer)  # training ends in mid-epoch, and may be asked to go on from there
        if trainer.world_size == 1 or batch_idx % AGREE_EVERY == 0:
            self._stop_if_asked(trainer, save=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._saved_step != trainer.global_step:
            self._save(trainer)
        self._stop_if_asked(trainer, save=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore_handlers()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore_handlers()

    def _stop_if_asked(self, trainer: pl.Trainer, *, save: bool) -> None:
        if trainer.strategy.reduce_boolean_decision(bool(self._signal), all=False):
            if save:
                self._save(trainer)
            raise Interrupted(self._signal or signal.SIGINT)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)  # collective; written beside and then in place, by rank 0
        self._saved_step = trainer.global_step

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._signal:
            raise KeyboardInterrupt
        self._signal = signum

    def _restore_handlers(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())
