"""A run with a range test is the run without it: to the bit, resumed, and after errors."""

import os
import signal

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from src.callbacks.activation_lengths import ActivationLengths
from src.callbacks.range_test import RangeTest
from src.runs.outcome import Interrupted
from tests.callbacks.range_test_tasks import BATCH, BATCHES, TEST, Busy, Plain, Recorded, fit, samples, weights

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # a test's loader needs none
    "ignore:.*smaller than the logging interval",
    "ignore:.*val_dataloader.*shuffling",
)


VARIANTS = {
    "sgd": ({}, {}),
    "adamw": ({"optimizer": "adamw"}, {}),
    "schedule": ({"optimizer": "schedule"}, {}),
    "accumulated": ({}, {"accumulate_grad_batches": 4}),
    "clipped": ({}, {"gradient_clip_val": 0.1}),
    "bf16": ({}, {"precision": "bf16-mixed"}),
    "part of the batches": ({}, {"limit_train_batches": 4}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_run_is_the_same_to_the_bit_as_without_it(tmp_path, variant):
    settings, options = VARIANTS[variant]
    alone, tested, test = Busy(**settings), Busy(**settings), RangeTest(**{**TEST, "max_lr": 1e4})
    records = Recorded(), Recorded()
    one, other = tmp_path / "alone", tmp_path / "tested"
    fit(alone, one, ActivationLengths(), records[0], **options)
    fit(tested, other, ActivationLengths(), records[1], test, **options)
    assert len(test.curves) > 5
    assert torch.equal(weights(alone), weights(tested))
    assert records[0].hooks == records[1].hooks
    assert records[0].metrics == records[1].metrics
    assert alone.on_train_epoch_end_saw == tested.on_train_epoch_end_saw
    for table in ("lengths", "steps"):
        first, second = (pd.read_parquet(directory / table) for directory in (one, other))
        pd.testing.assert_frame_equal(first, second, check_exact=True)


class SeveralAtOnce(Plain):
    """Two training loaders side by side, the shorter one cycled."""

    def train_dataloader(self):
        return {"long": super().train_dataloader(), "short": DataLoader(samples(3 * BATCH, seed=6), BATCH)}

    def training_step(self, batch):
        return sum(super(SeveralAtOnce, self).training_step(each, 0) for each in batch.values())


class Workers(Busy):
    """A loader whose workers persist, and have begun on the run's batches before the test."""

    def train_dataloader(self):
        data = samples(BATCHES * BATCH, seed=1)
        return DataLoader(data, BATCH, shuffle=True, num_workers=1, persistent_workers=True, generator=self.order)


class SecondOrder(Plain):
    """An optimizer that asks for the loss several times a step."""

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


@pytest.mark.parametrize("task", [SeveralAtOnce, SecondOrder, pytest.param(Workers, marks=pytest.mark.slow)])
def test_so_it_is_with_unusual_loaders_and_optimizers(tmp_path, task):
    alone, tested, test = task(), task(), RangeTest(**{**TEST, "max_lr": 0.5})
    fit(alone, tmp_path)
    fit(tested, tmp_path, test)
    assert len(test.curves) == TEST["steps"]
    assert torch.equal(weights(alone), weights(tested))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*")  # torch's compiler has some of its own
def test_so_it_is_with_a_compiled_net(tmp_path):
    nets = []
    for callbacks in ((), (RangeTest(**TEST),)):
        torch._dynamo.reset()
        task = Plain()
        task.net.compile()
        fit(task, tmp_path, *callbacks)
        nets.append(weights(task))
    assert torch.equal(*nets)


@pytest.mark.parametrize("forgotten", ["weights", "optimizer", "streams", "generator", "list", "metric", "batch norm"])
def test_anything_forgotten_would_be_noticed(tmp_path, forgotten):
    """The control of the test above: each of these is put back wrongly, after a test that put it back."""

    class Forgetful(RangeTest):
        def on_train_start(self, trainer, pl_module):
            super().on_train_start(trainer, pl_module)
            if forgotten == "weights":
                pl_module.net[0].weight.data[0, 0] += 1e-6
            elif forgotten == "optimizer":
                parameter = pl_module.net[0].weight
                trainer.optimizers[0].state[parameter]["momentum_buffer"] = torch.full_like(parameter, 1e-6)
            elif forgotten == "streams":
                torch.rand(1)
            elif forgotten == "generator":
                torch.rand(1, generator=pl_module.order)
            elif forgotten == "list":
                pl_module.losses.append(torch.tensor(1.0))
            elif forgotten == "metric":
                pl_module.accuracy.update(torch.eye(3), torch.arange(3))
            else:
                pl_module.net[1].running_mean += 1e-6

    alone, tested, records = Busy(), Busy(), (Recorded(), Recorded())
    fit(alone, tmp_path, records[0])
    fit(tested, tmp_path, records[1], Forgetful(**TEST))
    same = torch.equal(weights(alone), weights(tested)) and records[0].metrics == records[1].metrics
    assert not (same and alone.on_train_epoch_end_saw == tested.on_train_epoch_end_saw)


def checkpoint_of(directory, *callbacks, name="last.ckpt"):
    trainer = fit(Busy(), directory, *callbacks, max_epochs=1)
    trainer.save_checkpoint(directory / name)
    return directory / name


class NeverAgain(RangeTest):
    def _rows(self, *_):
        raise AssertionError("tested a second time")


def test_a_run_resumed_after_the_test_does_not_repeat_it(tmp_path):
    test, again = RangeTest(**TEST), NeverAgain(**TEST)
    NeverAgain.state_key = RangeTest.__qualname__  # another class finds the state of this one
    path = checkpoint_of(tmp_path, test)
    assert torch.load(path, weights_only=True)["callbacks"]["RangeTest"]["curves"]
    trainer = fit(Busy(), tmp_path / "resumed", again, ckpt_path=path, max_epochs=2)
    assert trainer.global_step == 2 * BATCHES
    assert again.summary() == test.summary()
    pd.testing.assert_frame_equal(again.curves, test.curves, check_exact=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "resumed" / "range_test"), test.curves, check_exact=True)


def test_a_run_that_gets_it_on_resuming_tests_from_there_and_goes_on(tmp_path):
    path = checkpoint_of(tmp_path)
    alone, tested, test = Busy(), Busy(), RangeTest(**TEST)
    steps = [fit(alone, tmp_path, ckpt_path=path).global_step]
    steps.append(fit(tested, tmp_path, test, ckpt_path=path).global_step)
    assert steps == [3 * BATCHES] * 2
    assert torch.equal(weights(alone), weights(tested))
    new = RangeTest(**TEST)
    fit(Busy(), tmp_path, new, max_epochs=1)
    assert test.curves["train_loss"][0] < new.curves["train_loss"][0] - 0.1  # it began from trained weights


def test_a_test_with_other_settings_is_not_taken_over(tmp_path):
    path = checkpoint_of(tmp_path, RangeTest(**TEST))
    other = RangeTest(**{**TEST, "steps": 10})
    fit(Busy(), tmp_path, other, ckpt_path=path, max_epochs=2)
    assert len(other.curves) == 10


def test_a_second_fit_is_tested_anew(tmp_path):
    test = RangeTest(**TEST)
    fit(Plain(), tmp_path, test, max_epochs=1)
    first = test.curves
    task = Plain()
    with torch.no_grad():
        task.net[0].weight.mul_(3)
    fit(task, tmp_path, test, max_epochs=1)
    assert test.curves["train_loss"][0] != first["train_loss"][0]


class Breaks(Busy):
    """Raises, or receives signals, in the middle of the ramp."""

    def __init__(self, trouble) -> None:
        super().__init__()
        self.trouble = trouble

    def training_step(self, batch, batch_idx):
        if self.steps == 9:
            self.trouble()
        return super().training_step(batch, batch_idx)


def fails():
    raise RuntimeError("broken")


def interrupts(*signals):
    def send():
        for name in signals:
            os.kill(os.getpid(), signal.Signals[name])

    return send


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (fails, RuntimeError),
        (interrupts("SIGINT"), Interrupted),
        (interrupts("SIGTERM"), Interrupted),
        (interrupts("SIGINT", "SIGINT"), SystemExit),  # Lightning's, of KeyboardInterrupt
    ],
)
def test_after_an_error_or_a_signal_all_is_as_it_was(tmp_path, trouble, error):
    task, handlers = Breaks(trouble), [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    before = weights(task)
    try:
        with pytest.raises(error):
            fit(task, tmp_path, test := RangeTest(**TEST))
        assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers or (
            error is SystemExit  # Lightning has turned them off
        )
    finally:
        signal.signal(signal.SIGINT, handlers[0])
    assert torch.equal(before, weights(task))
    assert task.losses == [] and task.steps == 0
    assert not (tmp_path / "range_test").exists()
    assert test.summary() == {}
