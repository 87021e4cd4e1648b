"""Callbacks that fail in ways that a launcher's workers would not survive by themselves."""

import os
import signal

import pytorch_lightning as pl


class Unpicklable(Exception):
    """Pickles, but does not unpickle: it is made of two things and keeps one."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


class Broken(pl.Callback):
    """Raises `Unpicklable`, or kills its process, in the job of one seed."""

    def __init__(self, seed: int, *, kill: bool = False) -> None:
        self.seed, self.kill = seed, kill

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if pl_module.seed == self.seed and self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if pl_module.seed == self.seed:
            raise Unpicklable("no luck", "this net")
