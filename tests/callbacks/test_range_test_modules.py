"""RangeTest with modules of any loss: through their own steps, with NaN for an accuracy that they do not have."""

import math
import os
import signal
import time
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from start_training.callbacks.range_test import RangeTest
from start_training.datamodules.diabetes import Diabetes
from start_training.stop_signals import Interrupted
from start_training.tasks.regression import Regression
from tests.callbacks.tasks import TEST, Plain, fit, small
from tests.campaigns.range_cases import MOMENTUM, RangeCase, residual

pytestmark = small
COUNT, BATCH = 64, 16


class Own(pl.LightningModule):
    """A module that predicts the first inputs, and states nothing about its loss."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, outputs))

    def forward(self, inputs):
        return self.net(inputs)

    def loss(self, batch):
        return mse_loss(self(batch[0]), batch[1])

    def targets(self, inputs):
        return inputs[:, :1]

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def dataset(self, seed):
        inputs = torch.randn(COUNT, 8, generator=torch.Generator().manual_seed(seed))
        return TensorDataset(inputs, self.targets(inputs))

    def train_dataloader(self):
        return DataLoader(self.dataset(1), BATCH)

    def val_dataloader(self):
        return DataLoader(self.dataset(2), BATCH)


class TargetsTimesTen(Own):
    def targets(self, inputs):
        return 50 + 10 * inputs[:, :1]


class OneDimensional(Own):
    def forward(self, inputs):
        return self.net(inputs).squeeze(1)

    def targets(self, inputs):
        return inputs[:, 0]


class OneLogit(Own):
    """Binary classes, as numbers (samples, 1), or (samples,)."""

    def loss(self, batch):
        return binary_cross_entropy_with_logits(self(batch[0]), batch[1].float().reshape(-1, 1))

    def targets(self, inputs):
        return (inputs[:, :1] > 0).long()


class OneLogitPerNumber(OneLogit):
    def targets(self, inputs):
        return (inputs[:, 0] > 0).long()


class Labels(Own):
    def __init__(self) -> None:
        super().__init__(3)

    def loss(self, batch):
        return binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def targets(self, inputs):
        return (inputs[:, :3] > 0).float()


class Segmentation(Own):
    """Three classes at each of four places: logits (samples, 3, 4), classes (samples, 4)."""

    def __init__(self) -> None:
        super().__init__(12)

    def forward(self, inputs):
        return self.net(inputs).view(-1, 3, 4)

    def loss(self, batch):
        return cross_entropy(self(batch[0]), batch[1])

    def targets(self, inputs):
        return (inputs[:, :4] > 0).long() + (inputs[:, :4] > 1).long()


class Dictionary(Own):
    """Batches are dictionaries; the loss is returned, and `forward` takes several arguments."""

    def forward(self, inputs, scale):
        return scale * self.net(inputs)

    def loss(self, batch):
        return mse_loss(self(batch["inputs"], 1.0), batch["targets"])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return {"loss": self.loss(batch)}

    def dataset(self, seed):
        inputs, targets = super().dataset(seed).tensors
        return [{"inputs": x, "targets": y} for x, y in zip(inputs, targets, strict=True)]


class SeveralLosses(Own):
    """Logs several losses, of which none is the sum, so that the loss of `training_step` is followed."""

    def training_step(self, batch, batch_idx):
        return {"loss": self.loss(batch), "others": 1.0}

    def validation_step(self, batch, batch_idx):
        self.log_dict({"val_loss_a": self.loss(batch), "val_loss_b": -1.0})


class WithoutForward(Own):
    forward = pl.LightningModule.forward

    def loss(self, batch):
        return mse_loss(self.net(batch[0]), batch[1])


class NegativeLoss(Own):
    def loss(self, batch):
        return mse_loss(self(batch[0]), batch[1]) - 100


KINDS = [
    *(TargetsTimesTen, OneDimensional, OneLogit, OneLogitPerNumber, Labels, Segmentation),
    *(Dictionary, SeveralLosses, WithoutForward, NegativeLoss),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adaptive", [False, True])
def test_the_loss_of_any_module_is_followed_and_it_has_no_accuracy(tmp_path, kind, adaptive):
    settings = {"max_lr": 1e3, "steps": 90, "val_points": 90, "val_samples": COUNT, "adaptive": adaptive}
    test, task = RangeTest(min_lr=1e-4, **settings, stop=True), kind()
    batch = next(iter(DataLoader(task.dataset(2), COUNT)))
    with torch.no_grad():
        first = float(task.loss(batch))
    fit(task, tmp_path, test)
    curves = test.ramps[0]
    assert curves["val_loss"].iloc[0] == pytest.approx(first, rel=0.02)
    assert curves["val_accuracy"].isna().all()
    suggestion = test.suggestion
    assert suggestion.turned or suggestion.rule.count("test larger rates") == 1
    assert 1e-4 < suggestion.max_lr < 10, suggestion.rule
    assert "nan" not in suggestion.rule and "%" not in suggestion.rule
    updates = test.summary()["range_test"]["updates"]
    assert updates == sum(map(len, test.ramps)) <= 90
    assert len(test.ramps) == 1 + adaptive and (", then " in suggestion.rule) == adaptive


def test_a_given_loss_is_that_of_forward_without_an_accuracy(tmp_path):
    test = RangeTest(**TEST, loss=mse_loss, stop=True)
    fit(Own(), tmp_path, test)
    assert test.curves["val_loss"].notna().any() and test.curves["val_accuracy"].isna().all()


def test_a_regression_with_large_outputs_is_compared_with_the_loss_before_training(tmp_path):
    """Its loss begins at 600, where that of guessing is 0.7, and is 1e7 after an update at too large a rate."""
    case = RangeCase("", residual(8, 48), partial(Diabetes, batch_size=32), MOMENTUM, 1, Regression)
    found = []
    for low, high in ((1.4e-4, 9e-3), (8e-3, 1.0)):
        test = RangeTest(min_lr=low, max_lr=high, steps=36, val_points=12, adaptive=False, stop=True)
        module, data = case.module(0)
        fit(module, tmp_path, test, data=data)
        found.append(test.suggestion)
    assert 1e-4 < found[0].max_lr < 9e-3
    assert math.isnan(found[1].max_lr) and "below its first value, 6" in found[1].rule


def test_few_updates_suffice_to_suggest_a_rate_of_a_wide_range(tmp_path):
    """56 updates over 20 octaves are less than three per octave, in which no net learns."""
    rules = []
    for adaptive in (True, False):
        test = RangeTest(steps=56, val_points=56, val_samples=50, adaptive=adaptive, stop=True)
        fit(Plain(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9)), tmp_path, test)
        rules.append(test.suggestion)
    assert rules[0].turned and 0.03 < rules[0].max_lr < 2


class Stream(IterableDataset):
    """Yields its samples once only."""

    def __init__(self, dataset) -> None:
        self.samples = iter(dataset)

    def __iter__(self):
        yield from self.samples


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.filterwarnings("ignore:.*IterableDataset")
def test_data_that_can_be_iterated_once_end_the_test_with_an_error(tmp_path, part):
    kind = type("Streamed", (Own,), {f"{part}_dataloader": lambda self: DataLoader(Stream(self.dataset(1)), BATCH)})
    message = {
        "train": "^Stream: training data can be iterated only once",
        "val": "^val_dataloader: yields other batches",
    }
    with pytest.raises(ValueError, match=message[part]):
        fit(kind(), tmp_path, RangeTest(**TEST), limit_val_batches=0)


@pytest.mark.parametrize("place", ["training_step", "validation_step", "train_dataloader", "val_dataloader"])
def test_a_signal_ends_the_test_within_a_second_wherever_it_is(tmp_path, place):
    """Each place is a Python loop of half a minute, which a signal has to interrupt."""

    class Slow(Own):
        armed = False

        def slow(self):
            if self.armed:
                os.kill(os.getpid(), signal.SIGTERM)
                end = time.monotonic() + 30
                while time.monotonic() < end:
                    time.sleep(0.01)

        def training_step(self, batch, batch_idx):
            self.armed = True
            if place == "training_step":
                self.slow()
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            self.armed = True
            if place == "validation_step":
                self.slow()
            super().validation_step(batch, batch_idx)

        def batches(self, name, seed):
            for row in range(4):
                if place == name and (name == "val_dataloader" or row == 2):
                    self.armed = True
                    self.slow()
                yield tuple(part[BATCH * row : BATCH * (row + 1)] for part in self.dataset(seed).tensors)

        def loader(self, name, seed):
            batches = self.batches

            class Loader:
                def __iter__(self):
                    return batches(name, seed)

            return Loader()

        def train_dataloader(self):
            return self.loader("train_dataloader", 1)

        def val_dataloader(self):
            return self.loader("val_dataloader", 2)

    handler, task = signal.getsignal(signal.SIGINT), Slow()
    before, began = [value.clone() for value in task.state_dict().values()], time.monotonic()
    try:
        with pytest.raises(Interrupted) as caught:
            fit(task, tmp_path, RangeTest(**TEST), limit_val_batches=0)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert time.monotonic() - began < 10 and caught.value.exit_status == 128 + signal.SIGTERM
    assert all(torch.equal(value, old) for value, old in zip(task.state_dict().values(), before, strict=True))


def test_without_any_loss_one_line_says_what_is_needed(tmp_path):
    class Silent(Own):
        def training_step(self, batch, batch_idx):
            if not self.training:
                raise RuntimeError("needs gradients")
            return self.loss(batch)

        def validation_step(self, batch, batch_idx):
            self.log("val_f1", 0.5)

    with pytest.raises(ValueError, match=r"^Silent.validation_step: gives no loss to follow; must return the loss"):
        fit(Silent(), tmp_path, RangeTest(**TEST))


def test_sixteen_validation_samples_are_too_few_to_tell(tmp_path):
    test = RangeTest(**{**TEST, "val_samples": 16}, stop=True)
    fit(Plain(), tmp_path, test)
    assert math.isnan(test.suggestion.max_lr) and test.suggestion.rule.startswith("16 validation samples are too few")
    assert np.isfinite(test.curves["val_loss"].dropna()).all()
