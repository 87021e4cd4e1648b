"""The range test in anyone's own Trainer: its curves are what one finds by hand, and training does not notice it."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from src.callbacks.range_test import RangeTest
from src.schedules.ramp import ramp
from tests.callbacks.range_test_tasks import BATCHES, TEST, VALIDATION, Busy, Plain, fit, samples, weights

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # a test's loader needs none
    "ignore:.*smaller than the logging interval",
    "ignore:.*val_dataloader.*shuffling",
)


def by_hand(task: Plain, rates, *, micro_batches: int = 1, clip: float | None = None) -> pd.DataFrame:
    """The ramp as a plain loop on a copy of the net; validated after every update on the whole set's subset."""
    net = copy.deepcopy(task.net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    batches = list(task.train_dataloader())
    inputs, targets = samples(VALIDATION, seed=2).tensors
    chosen = np.arange(TEST["val_samples"]) * VALIDATION // TEST["val_samples"]
    rows = []
    for step, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        mine = [batches[(step * micro_batches + index) % BATCHES] for index in range(micro_batches)]
        losses = [cross_entropy(net(x), y) for x, y in mine]
        loss = sum(losses) / micro_batches
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        with torch.no_grad():
            logits = net(inputs[chosen])
            validation = float(cross_entropy(logits, targets[chosen]))
            accuracy = float((logits.argmax(1) == targets[chosen]).double().mean())
        rows.append((step, rate, loss.item(), validation, accuracy))
    return pd.DataFrame(rows, columns=["step", "learning_rate", "train_loss", "val_loss", "val_accuracy"])


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize(("micro_batches", "clip"), [(1, None), (3, None), (1, 0.05)])
def test_the_curves_are_those_of_a_plain_loop(tmp_path, kind, micro_batches, clip):
    task, test = Plain(), RangeTest(**TEST, ramp=kind)
    rates = ramp(20, min_lr=1e-3, max_lr=1.0, kind=kind)
    expected = by_hand(task, rates, micro_batches=micro_batches, clip=clip)
    fit(task, tmp_path, test, max_epochs=1, accumulate_grad_batches=micro_batches, gradient_clip_val=clip)
    validated = test.curves["val_loss"].notna()
    assert test.curves["step"][validated].tolist() == [0, 3, 6, 10, 13, 16, 19]
    np.testing.assert_array_equal(test.curves["learning_rate"], rates)
    np.testing.assert_allclose(test.curves["train_loss"], expected["train_loss"], rtol=1e-5)
    for name in ("val_loss", "val_accuracy"):
        np.testing.assert_allclose(test.curves[name][validated], expected[name][validated], rtol=1e-5)
    plain = by_hand(task, rates * 1.01, micro_batches=micro_batches, clip=clip)  # the control
    assert not np.allclose(test.curves["train_loss"], plain["train_loss"], rtol=1e-5)


def test_the_table_is_what_the_callback_holds(tmp_path):
    test = RangeTest(**TEST)
    fit(Plain(), tmp_path, test, max_epochs=1)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "range_test"), test.curves, check_exact=True)
    said = test.summary()["range_test"]
    assert said["max_lr"] == test.suggestion.max_lr
    assert said["best_val_loss"] == test.curves["val_loss"].min()
    assert (said["steps"], said["diverged_at"], said["ramp"]) == (20, None, "exponential")
    assert (said["min_rate_tested"], said["max_rate_tested"]) == (1e-3, 1.0)


class Exploding(Plain):
    """Its loss is not finite from a step on; which it is, it counts itself."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.step = at, 0

    def training_step(self, batch, batch_idx):
        self.step += 1
        return super().training_step(batch, batch_idx) * (math.nan if self.step == self.at + 1 else 1.0)


@pytest.mark.parametrize("at", [8, 19])  # an epoch of training does not come so far
def test_it_ends_where_a_training_loss_is_not_finite_and_training_goes_on(tmp_path, at):
    alone, task, test = Plain(), Exploding(at), RangeTest(**TEST)
    fit(alone, tmp_path, max_epochs=1)
    fit(task, tmp_path, test, max_epochs=1, detect_anomaly=True)
    assert len(test.curves) == at + 1
    assert math.isnan(test.curves["train_loss"][at])
    assert np.isfinite(test.curves["train_loss"][:at]).all()
    assert test.summary()["range_test"]["diverged_at"] == at
    assert torch.equal(weights(alone), weights(task))


def test_a_net_that_diverges_at_once_is_told_so(tmp_path):
    test = RangeTest(**TEST, stop=True)
    fit(Exploding(0), tmp_path, test)
    assert len(test.curves) == 1
    assert math.isnan(test.suggestion.max_lr)
    assert test.suggestion.rule == "training diverged at once, at a rate of 0.001: lower min_lr"


def test_it_ends_where_a_validation_loss_is_not_finite(tmp_path):
    class Overflowing(Plain):
        def forward(self, inputs):
            logits = self.net(inputs)
            return logits if self.training or logits.abs().max() < 20 else logits * math.inf

    test = RangeTest(**{**TEST, "max_lr": 100.0, "val_points": 20}, stop=True)
    fit(Overflowing(), tmp_path, test)
    assert 5 < len(test.curves) < 20
    assert not np.isfinite(test.curves["val_loss"].iloc[-1])
    assert np.isfinite(test.curves["val_loss"][:-1]).all()
    assert test.summary()["range_test"]["diverged_at"] == len(test.curves) - 1


def test_a_smoothed_loss_above_the_first_does_not_end_it(tmp_path):
    test = RangeTest(**{**TEST, "max_lr": 300.0}, stop=True)
    fit(Plain(), tmp_path, test)
    assert len(test.curves) == 20  # diverging, and finite
    assert test.curves["train_loss"].max() > 10 * test.curves["train_loss"][0]


def test_asked_to_stop_it_ends_the_run_before_training(tmp_path):
    task = Busy()
    before = weights(task)
    trainer = fit(task, tmp_path, RangeTest(**TEST, stop=True))
    assert trainer.global_step == trainer.current_epoch == 0
    assert torch.equal(before, weights(task))


def test_a_run_that_is_to_train_cannot_stop_before(tmp_path):
    with pytest.raises(ValueError, match=r"^min_epochs = 2: the range test is to stop before training"):
        fit(Plain(), tmp_path, RangeTest(**TEST, stop=True), min_epochs=2)


class TwoOptimizers(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.net[0], self.net[2])]


class Manual(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class Unvalidated(Plain):
    def val_dataloader(self):
        return []


class EmptyValidation(Plain):
    def val_dataloader(self):
        return DataLoader(samples(0, seed=2))


class WithoutForward(Plain):
    forward = pl.LightningModule.forward

    def training_step(self, batch, batch_idx):
        return cross_entropy(self.net(batch[0]), batch[1])


class GoneThroughOnce(Plain):
    def train_dataloader(self):
        return iter(list(super().train_dataloader()))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Manual, "Manual optimizes manually"),
        (TwoOptimizers, "TwoOptimizers optimizes manually"),
        (Unvalidated, "needs validation data"),
        (EmptyValidation, "needs validation data"),
        (WithoutForward, "WithoutForward has no forward"),
        (GoneThroughOnce, "training data that can be gone through once"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*has no length", "ignore:Total length of .*DataLoader.* is zero")
def test_a_module_that_admits_no_test_is_refused(tmp_path, task, message):
    with pytest.raises(ValueError, match=message):
        fit(task(), tmp_path, RangeTest(**TEST), limit_val_batches=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_lr": 1.0, "max_lr": 1.0}, r"^min_lr = 1.0: must be below max_lr"),
        ({"min_lr": 2.0, "max_lr": 1.0}, r"^min_lr = 2.0: must be below max_lr"),
        *(({name: value}, f"^{name} = {value}: ") for name in ("min_lr", "max_lr") for value in (0, -1, math.inf)),
        *(({"steps": value}, f"^steps = {value}: ") for value in (0, 1, 2.5, True)),
        ({"steps": 20, "val_points": 21}, r"^val_points = 21: must not be more than the 20 steps"),
        ({"val_points": 1}, r"^val_points = 1: "),
        ({"val_samples": 0}, r"^val_samples = 0: "),
        ({"ramp": "log"}, r"^ramp = 'log': must be one of exponential, linear"),
    ],
)
def test_settings_no_test_could_use_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        RangeTest(**settings)
