"""A run that ends within or after an epoch or by a signal can be resumed; a run that diverges ends."""

import os
import signal
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.callbacks.divergence import Divergence
from start_training.callbacks.last_checkpoint import LastCheckpoint
from start_training.runs.outcome import Diverged
from start_training.stop_signals import SIGNALS, Interrupted, deferred
from tests.callbacks.tasks import BATCHES, At, Resumable, fit, small, weights

pytestmark = [small, pytest.mark.filterwarnings("ignore:.*resuming from a checkpoint that ended before the epoch")]


def steps_in(path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


@pytest.mark.parametrize(
    ("length", "signalled", "accumulate", "saved"),
    [
        ({"max_epochs": 2}, None, 1, 2 * BATCHES),
        ({"max_epochs": -1, "max_steps": 9}, None, 1, 9),
        ({"max_epochs": 3}, 8, 1, 8),
        ({"max_epochs": 3}, BATCHES, 1, BATCHES),  # at an epoch's end
        ({"max_epochs": 3}, 2, 4, 2),  # steps of four and two micro-batches
    ],
)
def test_a_run_resumed_from_the_last_checkpoint_equals_an_uninterrupted_run(
    tmp_path, length, signalled, accumulate, saved
):
    path, whole, first, second = tmp_path / "last.ckpt", Resumable(), Resumable(), Resumable()
    handlers = [signal.getsignal(signum) for signum in SIGNALS]
    options = {"accumulate_grad_batches": accumulate, "enable_checkpointing": True}
    full = {"max_epochs": 3} if length["max_epochs"] > 0 else {"max_epochs": -1, "max_steps": 20}
    fit(whole, tmp_path, LastCheckpoint(tmp_path / "whole.ckpt"), **full, **options)
    ask = At(signalled, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    if signalled:
        with pytest.raises(Interrupted) as caught, deferred():
            fit(first, tmp_path, ask, LastCheckpoint(path), **length, **options)
        assert caught.value.exit_status == 128 + signal.SIGTERM
    else:
        fit(first, tmp_path, LastCheckpoint(path), **length, **options)
    assert [signal.getsignal(signum) for signum in SIGNALS] == handlers
    assert steps_in(path) == saved
    fit(second, tmp_path, LastCheckpoint(path), ckpt_path=path, **full, **options)
    assert torch.equal(weights(second), weights(whole))
    assert steps_in(path) == steps_in(tmp_path / "whole.ckpt")


def test_a_callback_whose_state_cannot_be_loaded_again_is_refused_at_the_first_checkpoint(tmp_path):
    class Odd(pl.Callback):
        def state_dict(self):
            return {"value": np.float64(1)}

    with pytest.raises(ValueError, match=r"^Odd: its state_dict holds numpy\S*scalar; must be"):
        fit(
            Resumable(),
            tmp_path,
            Odd(),
            LastCheckpoint(tmp_path / "last.ckpt"),
            max_epochs=1,
            enable_checkpointing=True,
        )
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize("loss", [torch.nan, torch.inf, 1e30])
def test_a_loss_that_is_not_finite_ends_the_run_after_its_step(tmp_path, loss):
    class Diverging(Resumable):
        def training_step(self, batch, batch_idx):
            loss_at_4 = loss if self.trainer.global_step == 4 else 1.0
            return {"loss": super().training_step(batch, batch_idx) * 0 + loss_at_4}

    with pytest.raises(Diverged) if loss != 1e30 else nullcontext() as caught:
        fit(Diverging(), tmp_path, Divergence(), max_epochs=1)
    assert loss == 1e30 or caught.value.step == 4


@pytest.mark.filterwarnings("ignore:.*training_step.* returned .*None")
def test_a_batch_that_a_module_skips_does_not_end_the_run(tmp_path):
    class Skipping(Resumable):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 2 else loss

    trainer = fit(Skipping(), tmp_path, Divergence(), ActivationLengths(), max_epochs=1)
    assert trainer.global_step == BATCHES
    steps = pd.read_parquet(tmp_path / "activation_lengths" / "0" / "steps")
    assert steps["step"].tolist() == [step for step in range(BATCHES) if step != 2]
