"""Runs that a signal interrupts: a callback sends it to its own process once a given step has been taken."""

import os
import signal

import pytest
import pytorch_lightning as pl

from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.stop_signals import Interrupted
from start_training.training.train import train


class SignalAtStep(pl.Callback):
    def __init__(self, step: int, name: str = "SIGINT") -> None:
        self.step, self.signum = step, signal.Signals[name]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.signum)


def interrupted(config: dict, directory, step: int, name: str = "SIGINT") -> None:
    """Run until a signal arrives at `step`; the signalling callback is no part of the run's identity."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("start_training.training.train.Divergence", lambda *_: SignalAtStep(step, name))
        train(Job(config, directory))
    assert RunDirectory(directory).summary()["status"] == "interrupted"


def resume(config: dict, directory, origin=None) -> dict:
    checkpoint = RunDirectory(origin or directory).checkpoint
    return train(Job({**config, "ckpt_path": str(checkpoint)}, directory))


class LostRank(pl.Callback):
    """Let rank 1 raise an error, run out of memory, or be killed, at a step, or raise an error while it is built."""

    def __init__(self, step: int, how: str) -> None:
        self.step, self.how = step, how
        if how == "building" and os.environ.get("LOCAL_RANK") == "1":
            raise ValueError("how = building: rank 1 is broken")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step and trainer.global_rank == 1:
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise MemoryError if self.how == "memory" else RuntimeError("rank 1 is broken")
