"""A run with a range test is bit-identical to one without it, and state is restored after errors."""

import os
import signal
from functools import partial

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.callbacks.range_test import RangeTest
from start_training.stop_signals import Interrupted
from tests.callbacks.tasks import BATCH, BATCHES, TEST, Busy, Plain, Recorded, fit, samples, small, weights

pytestmark = small
VARIANTS = {
    "adamw": ({"optimizer": partial(torch.optim.AdamW, lr=0.01)}, {"limit_train_batches": 4}),
    "scheduled": ({"scheduled": True}, {"gradient_clip_val": 0.1}),
    "accumulated": ({}, {"accumulate_grad_batches": 4, "precision": "bf16-mixed"}),
}


def change(what, task, trainer):
    if what == "weights":
        task.net[0].weight.data[0, 0] += 1e-6
    elif what == "optimizer":
        trainer.optimizers[0].state[task.net[0].weight]["momentum_buffer"] = torch.full_like(task.net[0].weight, 1e-6)
    elif what == "streams":
        torch.rand(1)
    elif what == "generator":
        torch.rand(1, generator=task.order)
    elif what == "list":
        task.losses.append(torch.tensor(1.0))
    elif what == "metric":
        task.accuracy.update(torch.eye(3), torch.arange(3))
    elif what == "batch norm":
        task.net[1].running_mean += 1e-6


class ChangesState(RangeTest):
    def __init__(self, what, **settings) -> None:
        super().__init__(**settings)
        self.what = what

    def on_train_start(self, trainer, pl_module):
        super().on_train_start(trainer, pl_module)
        change(self.what, pl_module, trainer)


CONTROLS = ("weights", "optimizer", "streams", "generator", "list", "metric", "batch norm")


@pytest.mark.parametrize(
    ("variant", "changed"), [*((variant, None) for variant in VARIANTS), *(("scheduled", what) for what in CONTROLS)]
)
def test_the_run_is_bit_identical_to_one_without_the_test_and_unrestored_state_is_detected(tmp_path, variant, changed):
    settings, options = VARIANTS[variant]
    alone, tested, test = Busy(**settings), Busy(**settings), ChangesState(changed, **{**TEST, "max_lr": 1e4})
    records = Recorded(), Recorded()
    one, other = tmp_path / "alone", tmp_path / "tested"
    fit(alone, one, ActivationLengths(), records[0], **options)
    fit(tested, other, ActivationLengths(), records[1], test, **options)
    assert len(test.curves) > 5
    assert records[0].hooks == records[1].hooks
    same = torch.equal(weights(alone), weights(tested)) and records[0].metrics == records[1].metrics
    same = same and alone.on_train_epoch_end_saw == tested.on_train_epoch_end_saw
    for table in ("lengths", "steps"):
        first, second = (pd.read_parquet(directory / "activation_lengths" / "0" / table) for directory in (one, other))
        same = same and first.equals(second)
    assert same is (changed is None)


class SeveralAtOnce(Plain):
    """A module with two training loaders, of which the shorter is cycled."""

    def train_dataloader(self):
        return {"long": super().train_dataloader(), "short": DataLoader(samples(3 * BATCH, seed=6), BATCH)}

    def training_step(self, batch):
        return sum(super(SeveralAtOnce, self).training_step(part, 0) for part in batch.values())


class Workers(Busy):
    """A module with persistent loader workers, which prefetch batches of the run before the test."""

    def train_dataloader(self):
        data = samples(BATCHES * BATCH, seed=1)
        return DataLoader(data, BATCH, shuffle=True, num_workers=1, persistent_workers=True, generator=self.order)


class SecondOrder(Plain):
    """A module whose optimizer calls the closure several times in a step."""

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


@pytest.mark.parametrize("task", [SeveralAtOnce, SecondOrder, pytest.param(Workers, marks=pytest.mark.slow)])
def test_the_run_is_bit_identical_with_unusual_loaders_and_optimizers(tmp_path, task):
    alone, tested, test = task(), task(), RangeTest(**{**TEST, "max_lr": 0.5})
    fit(alone, tmp_path)
    fit(tested, tmp_path, test)
    assert len(test.curves) == TEST["steps"]
    assert torch.equal(weights(alone), weights(tested))


class Breaks(Busy):
    """A module that raises an error or receives signals within the range test."""

    def __init__(self, *signals) -> None:
        super().__init__()
        self.signals = signals

    def training_step(self, batch, batch_idx):
        if self.steps == 9:
            for signum in self.signals:
                os.kill(os.getpid(), signum)
            if not self.signals:
                raise RuntimeError("broken")
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("signals", "error"),
    [
        ((), RuntimeError),
        ([signal.SIGTERM], Interrupted),
        ([signal.SIGINT] * 2, Interrupted),
    ],  # Lightning raises SystemExit
)
def test_state_is_restored_after_an_error_or_a_signal(tmp_path, signals, error):
    task, handlers = Breaks(*signals), [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    before = weights(task)
    try:
        with pytest.raises(error) as caught:
            fit(task, tmp_path, test := RangeTest(**TEST))
        assert error is not Interrupted or caught.value.exit_status == 128 + signals[0]
        assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers or (
            error is SystemExit  # Lightning has disabled them
        )
    finally:
        signal.signal(signal.SIGINT, handlers[0])
    assert torch.equal(before, weights(task))
    assert task.losses == [] and task.steps == 0
    assert not (tmp_path / "range_test").exists()
    assert test.summary() == {}
