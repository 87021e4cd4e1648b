"""Test loss and accuracy in anyone's own Trainer: what one finds by hand, in the epoch's row, and unnoticed."""

import copy
import math
from functools import partial

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from src.callbacks.test_metrics import TestMetrics, summed_loss
from src.models.classifier import Classifier
from src.runs.metrics_file import MetricsFile
from tests.callbacks.tasks import (
    BATCH,
    BATCHES,
    VALIDATION,
    Careless,
    Evaluated,
    Plain,
    Recording,
    fit,
    samples,
    small,
    weights,
)  # fmt: skip

pytestmark = small


class ByHand(pl.Callback):
    """Test loss and accuracy of a copy of the net at the end of every epoch, in one batch."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}

    @torch.no_grad()
    def on_train_epoch_end(self, trainer, pl_module):
        inputs, targets = samples(VALIDATION, seed=2).tensors
        logits = copy.deepcopy(pl_module.net).eval()(inputs)
        loss, accuracy = cross_entropy(logits, targets), (logits.argmax(1) == targets).float().mean()
        self.rows[trainer.global_step - 1] = {"test/loss": float(loss), "test/accuracy": float(accuracy)}


@pytest.mark.parametrize("every", [1, 3])
def test_each_epochs_row_has_what_one_finds_by_hand(tmp_path, every):
    hand, logger, metrics = ByHand(), Recording(), TestMetrics(every_n_epochs=every)
    task, alone, careless = Evaluated(), Evaluated(), Evaluated()
    fit(task, tmp_path, hand, metrics, logger=logger, max_epochs=4)
    expected = {step: row for step, row in hand.rows.items() if (step + 1) % (every * BATCHES) == 0}
    assert len(expected) == 4 // every
    sent = {step: row for step, row in logger.rows.items() if "test/loss" in row}
    for step, row in expected.items():
        assert {name: sent[step][name] for name in row} == pytest.approx(row, rel=1e-6)
        assert sent.pop(step)["epoch"] == (step + 1) // BATCHES - 1
    assert not sent
    lowest = min(expected, key=lambda step: expected[step]["test/loss"])
    found = {"step": lowest + 1, "epoch": (lowest + 1) // BATCHES, "loss": expected[lowest]["test/loss"]}
    found["accuracy"] = expected[lowest]["test/accuracy"]
    assert metrics.summary()["lowest_test_loss"] == pytest.approx(found, rel=1e-6)
    fit(alone, tmp_path, max_epochs=4)
    fit(careless, tmp_path, Careless(), max_epochs=4)  # the control
    assert torch.equal(weights(alone), weights(task)) and not torch.equal(weights(alone), weights(careless))


def test_it_stands_in_the_row_of_training_loss_and_before_what_the_test_says_in_the_end(tmp_path):
    class WithTestSet(Classifier):
        def train_dataloader(self):
            return DataLoader(samples(BATCHES * BATCH, seed=1), BATCH)

        def test_dataloader(self):
            return DataLoader(samples(VALIDATION, seed=2), 20)

    classifier = WithTestSet(nn.Linear(8, 3), partial(torch.optim.SGD, lr=0.1), classes=3)
    options = {"max_epochs": 2, "limit_val_batches": 0, "precision": "bf16-mixed"}
    trainer = fit(classifier, tmp_path, TestMetrics(), logger=MetricsFile(tmp_path), **options)
    trainer.test(classifier, verbose=False)
    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert rows["step"].tolist() == [5, 11, 12]
    assert rows["epoch"].tolist()[:2] == [0, 1]
    assert rows[["train/loss", "test/loss", "test/accuracy"]].iloc[:2].notna().all(axis=None)
    assert rows["test/loss"][2] == pytest.approx(rows["test/loss"][1], rel=1e-2)  # bfloat16 has 8 bits
    assert rows["test/accuracy"][2] == pytest.approx(rows["test/accuracy"][1])


def test_the_lowest_is_kept_where_loss_rises_or_is_no_number():
    metrics, losses = TestMetrics(), [math.nan, 0.9, 0.5, math.nan, 0.5, 0.7]
    metrics.note(1, 10, math.nan, 0.1)
    assert metrics.summary() == {}
    for epoch, loss in enumerate(losses, 1):
        metrics.note(epoch, 10 * epoch, loss, 0.1)
    assert metrics.lowest == {"epoch": 3, "step": 30, "loss": 0.5, "accuracy": 0.1}
    resumed = TestMetrics()
    resumed.load_state_dict(metrics.state_dict())
    assert resumed.summary() == metrics.summary()


def test_the_summed_loss_is_that_of_the_samples():
    logits, targets = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    by_hand = -sum(float(row.log_softmax(0)[target]) for row, target in zip(logits, targets, strict=True))
    assert float(summed_loss(logits, targets)) == pytest.approx(by_hand, rel=1e-6)
    assert summed_loss(logits.to(torch.bfloat16), targets).dtype == torch.float32


def test_without_a_test_set_or_with_no_epoch_to_look_after_it_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"^test_metrics: the data has no test set"):
        fit(Plain(), tmp_path, TestMetrics(), max_epochs=1)
    with pytest.raises(ValueError, match=r"^every_n_epochs = 0: must be a whole number of at least 1"):
        TestMetrics(every_n_epochs=0)
