"""A callback that sends its own process a signal once a given step has been taken."""

import os
import signal

import pytorch_lightning as pl


class SignalAtStep(pl.Callback):
    def __init__(self, step: int, name: str = "SIGINT") -> None:
        self.step, self.signum = step, signal.Signals[name]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.signum)
