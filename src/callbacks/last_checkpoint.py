"""Write a checkpoint at the end of every epoch, and when a signal stops the run."""

import re
import signal
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.environments import SLURMEnvironment

from start_training.files.replaced_file import replaced
from start_training.stop_signals import Interrupted, listen_again, received

AGREE_EVERY = 50  # batches; with several ranks, communicating after every batch would stall a GPU


class LastCheckpoint(Checkpoint):
    """Write a checkpoint at the end of every epoch, replacing the previous one, and stop the run on a signal.

    After a signal, if `stop_signals.deferred` is open, `Interrupted` is raised before the first step, after the current
    step and its checkpoint, or after the current batch of the test. The class derives from `Checkpoint`, so that
    Lightning calls it after all other callbacks, whose state it saves.

    Args:
        path: The file of the checkpoint.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._saved_step = -1

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # A checkpoint saved in on_train_epoch_end counts the epoch as processed but not completed. With max_steps,
        # Lightning 2.6.6 then skips the next epoch. Hence count the epoch as completed, with no batch of the next one.
        loops = checkpoint["loops"]["fit_loop"]
        epoch, batch = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
        if epoch["current"]["processed"] == epoch["current"]["ready"] != epoch["current"]["completed"]:
            for counts in (epoch["total"], epoch["current"]):
                counts["completed"] = counts["processed"]
            batch["current"] = dict.fromkeys(batch["current"], 0)
            batch["is_last_batch"] = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # Lightning's handler of SIGTERM communicates with other ranks from within the handler, and later ends the
        # process with status 0. On SLURM it requeues the job.
        if not isinstance(trainer._accelerator_connector.cluster_environment, SLURMEnvironment):
            connector: Any = trainer._signal_connector  # a type checker does not allow to replace a method
            connector.register_signal_handlers = lambda: None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_step = -1
        listen_again()
        self._stop_if_asked(trainer, save=False)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # saved at the epoch's end; accumulated gradients would be lost
        if trainer.should_stop and trainer.fit_loop.epoch_loop.done:
            return  # a callback has stopped the run: first validate and log the epoch
        if trainer.global_step == trainer.max_steps:
            self._save(trainer)  # training ends within an epoch, and may be resumed from this step
        if trainer.world_size == 1 or batch_idx % AGREE_EVERY == 0:
            self._stop_if_asked(trainer, save=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._saved_step != trainer.global_step:
            self._save(trainer)
        self._stop_if_asked(trainer, save=False)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        listen_again()

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.world_size == 1 or batch_idx % AGREE_EVERY == 0:
            self._stop_if_asked(trainer, save=False)

    def _stop_if_asked(self, trainer: pl.Trainer, *, save: bool) -> None:
        if trainer.strategy.reduce_boolean_decision(bool(received()), all=False):
            if save:
                self._save(trainer)
            raise Interrupted(received() or signal.SIGINT, on_all_ranks=True)

    def _save(self, trainer: pl.Trainer) -> None:
        if self._saved_step < 0:
            _check_states(trainer)
        # Lightning writes to TMPDIR and moves the file, which between two file systems copies it over the old one.
        rank_zero = replaced(self.path, keep=self.path.with_name("previous.ckpt"))
        with rank_zero if trainer.is_global_zero else nullcontext(self.path) as partial:
            trainer.save_checkpoint(partial)  # all ranks enter, and rank 0 writes
        self._saved_step = trainer.global_step


def _check_states(trainer: pl.Trainer) -> None:
    """Raise ValueError if the state of a callback could be saved, but not loaded again to resume the run."""
    for callback in getattr(trainer, "callbacks", []):
        file = BytesIO()
        torch.save(callback.state_dict(), file)
        file.seek(0)
        try:
            torch.load(file, weights_only=True)
        except UnpicklingError as error:
            reason = re.search(r"GLOBAL (\S+)", str(error))
            raise ValueError(
                f"{type(callback).__name__}: its state_dict holds {reason[1] if reason else 'other objects'}; must be "
                "numbers, text, lists, dictionaries and tensors, since nothing else is loaded from a checkpoint"
            ) from error
