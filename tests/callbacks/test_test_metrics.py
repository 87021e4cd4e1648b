"""Test loss and accuracy in anyone's own Trainer: what one finds by hand, in the epoch's row, and unnoticed."""

import math

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
from tests.callbacks.test_hyperparameters import Recording
from tests.callbacks.test_start_of_training import BATCHES, EPOCHS, Task, fit, samples, weights

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # a test's loader needs none
    "ignore:.*smaller than the logging interval",
    "ignore:.*test_dataloader.*shuffling",
)


class ByHand(pl.Callback):
    """Test loss and accuracy of the net at the end of every epoch, in one batch."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}

    @torch.no_grad()
    def on_train_epoch_end(self, trainer, pl_module):
        inputs, targets = samples(50, seed=2).tensors
        modes = [module.training for module in pl_module.modules()]
        logits = pl_module.eval().net(inputs)
        for module, training in zip(pl_module.modules(), modes, strict=True):
            module.training = training
        loss, accuracy = cross_entropy(logits, targets), (logits.argmax(1) == targets).float().mean()
        self.rows[trainer.global_step - 1] = {"test/loss": float(loss), "test/accuracy": float(accuracy)}


@pytest.mark.parametrize("every", [1, 3])
def test_each_epochs_row_has_what_one_finds_by_hand(every):
    hand, logger, metrics = ByHand(), Recording(), TestMetrics(every_n_epochs=every)
    fit(Task(), hand, metrics, logger=logger)
    expected = {step: row for step, row in hand.rows.items() if (step + 1) % (every * BATCHES) == 0}
    assert len(expected) == EPOCHS // every
    sent = {step: {name: row[name] for name in ("test/loss", "test/accuracy")} for step, row in logger.rows.items()}
    assert sent == {step: pytest.approx(row, rel=1e-6) for step, row in expected.items()}
    lowest = min(expected, key=lambda step: expected[step]["test/loss"])
    found = metrics.summary()["lowest_test_loss"]
    assert (found["step"], found["epoch"]) == (lowest + 1, (lowest + 1) // BATCHES)
    assert found["loss"] == pytest.approx(expected[lowest]["test/loss"], rel=1e-6)
    assert found["accuracy"] == pytest.approx(expected[lowest]["test/accuracy"], rel=1e-6)


class WithTestSet(Classifier):
    """This project's own, with a test set."""

    def test_dataloader(self):
        return DataLoader(samples(50, seed=2), 20)


def test_it_stands_in_the_row_of_training_loss_and_before_what_the_test_says_in_the_end(tmp_path):
    torch.manual_seed(0)
    classifier = WithTestSet(nn.Linear(8, 3), lambda weights: torch.optim.SGD(weights, lr=0.1), classes=3)
    options = {"max_epochs": 2, "accelerator": "cpu", "logger": MetricsFile(tmp_path), "enable_checkpointing": False,
               "enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 0}  # fmt: skip
    trainer = pl.Trainer(callbacks=[TestMetrics()], **options)
    trainer.fit(classifier, DataLoader(samples(BATCHES * 16, seed=1), 16), [])
    trainer.test(classifier, verbose=False)
    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert rows["step"].tolist() == [5, 11, 12]
    assert rows["epoch"].tolist()[:2] == [0, 1]
    assert rows[["train/loss", "test/loss", "test/accuracy"]].iloc[:2].notna().all(axis=None)
    assert rows["test/loss"][2] == pytest.approx(rows["test/loss"][1], rel=1e-5)
    assert rows["test/accuracy"][2] == pytest.approx(rows["test/accuracy"][1])


def test_the_lowest_is_kept_where_loss_rises_or_is_no_number():
    metrics, losses = TestMetrics(), [0.9, 0.5, math.nan, 0.5, 0.7]
    for epoch, loss in enumerate(losses, 1):
        metrics.note(epoch, 10 * epoch, loss, 0.1)
    assert metrics.lowest == {"epoch": 2, "step": 20, "loss": 0.5, "accuracy": 0.1}
    resumed = TestMetrics()
    resumed.load_state_dict(metrics.state_dict())
    assert resumed.summary() == metrics.summary()
    only = TestMetrics()
    only.note(1, 10, math.nan, 0.1)
    assert only.summary() == {}


def test_told_of_its_looks_without_a_trainer_it_sends_and_keeps_the_same():
    logger, metrics = Recording(), TestMetrics()
    fit(Task(), metrics, logger=logger)
    told, again = TestMetrics(), Recording()
    for epoch in range(1, EPOCHS + 1):
        row = logger.rows[epoch * BATCHES - 1]
        told.note(epoch, epoch * BATCHES, row["test/loss"], row["test/accuracy"], loggers=[again])
    assert told.summary() == metrics.summary()
    assert again.rows == {step: row for step, row in logger.rows.items() if "test/loss" in row}


def test_the_summed_loss_is_that_of_the_samples():
    logits, targets = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    by_hand = -sum(float(row.log_softmax(0)[target]) for row, target in zip(logits, targets, strict=True))
    assert float(summed_loss(logits, targets)) == pytest.approx(by_hand, rel=1e-6)
    assert summed_loss(logits.to(torch.bfloat16), targets).dtype == torch.float32


class Careless(pl.Callback):
    """Looks at the test set as one would without thinking of the run."""

    def on_train_epoch_end(self, trainer, pl_module):
        for inputs, _ in pl_module.test_dataloader():
            pl_module.net(inputs)


@pytest.mark.parametrize("callback", [TestMetrics, Careless])
def test_the_run_is_the_same_to_the_bit_as_without_it(callback):
    alone, watched = Task(), Task()
    fit(alone)
    fit(watched, callback())
    assert torch.equal(weights(alone), weights(watched)) == (callback is TestMetrics)  # the control would be noticed


def test_it_looks_in_the_precision_of_the_run_and_in_evaluation_mode():
    task = Task()
    fit(task, TestMetrics(), precision="bf16-mixed", max_epochs=1)
    assert ("test", False, False, torch.bfloat16) in task.calls


class WithoutTestSet(pl.LightningModule):
    """Somebody's module that is not tested."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(8, 3)

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, batch_idx):
        return cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return DataLoader(samples(16, seed=1), 16)


class WithoutTestSamples(WithoutTestSet):
    def test_dataloader(self):
        return [[]]


@pytest.mark.parametrize(
    ("task", "message"),
    [(WithoutTestSet, "^test_metrics: the data has no test set"), (WithoutTestSamples, "^test_dataloader: gave no ")],
)
def test_without_a_test_set_it_says_so(task, message):
    with pytest.raises(ValueError, match=message):
        fit(task(), TestMetrics(), max_epochs=1)


def test_a_setting_no_run_could_use_is_named():
    with pytest.raises(ValueError, match=r"^every_n_epochs = 0: must be a whole number of at least 1"):
        TestMetrics(every_n_epochs=0)
