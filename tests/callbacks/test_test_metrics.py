"""TestMetrics with a plain Trainer: metrics equal those computed by hand, and training is unchanged."""

import copy
import math

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy

from start_training.callbacks.test_metrics import TestMetrics
from tests.callbacks.tasks import (
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
)

pytestmark = small


class ByHand(pl.Callback):
    """Computes test loss and accuracy of a copy of the net at the end of every epoch, in one batch."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}

    @torch.no_grad()
    def on_train_epoch_end(self, trainer, pl_module):
        inputs, targets = samples(VALIDATION, seed=2).tensors
        logits = copy.deepcopy(pl_module.net).eval()(inputs)
        loss, accuracy = cross_entropy(logits, targets), (logits.argmax(1) == targets).float().mean()
        self.rows[trainer.global_step - 1] = {"test/loss": float(loss), "test/accuracy": float(accuracy)}


@pytest.mark.parametrize("period", [1, 3])
def test_the_row_of_an_epoch_has_the_test_metrics_computed_by_hand(tmp_path, period):
    hand, logger, metrics = ByHand(), Recording(), TestMetrics(every_n_epochs=period)
    task, alone, careless = Evaluated(), Evaluated(), Evaluated()
    fit(task, tmp_path, hand, metrics, logger=logger, max_epochs=4)
    expected = {step: row for step, row in hand.rows.items() if (step + 1) % (period * BATCHES) == 0}
    assert len(expected) == 4 // period
    logged = {step: row for step, row in logger.rows.items() if "test/loss" in row}
    for step, row in expected.items():
        assert {name: logged[step][name] for name in row} == pytest.approx(row, rel=1e-6)
        assert logged.pop(step)["epoch"] == (step + 1) // BATCHES - 1
    assert not logged
    lowest = min(expected, key=lambda step: expected[step]["test/loss"])
    summary = {"step": lowest + 1, "epoch": (lowest + 1) // BATCHES, "loss": expected[lowest]["test/loss"]}
    summary["accuracy"] = expected[lowest]["test/accuracy"]
    assert metrics.summary()["lowest_test_loss"] == pytest.approx(summary, rel=1e-6)
    fit(alone, tmp_path, max_epochs=4)
    fit(careless, tmp_path, Careless(), max_epochs=4)  # the control
    assert torch.equal(weights(alone), weights(task)) and not torch.equal(weights(alone), weights(careless))


def test_the_lowest_loss_is_stored_when_the_loss_rises_or_is_nan():
    metrics, losses = TestMetrics(), [math.nan, 0.9, 0.5, math.nan, 0.5, 0.7]
    metrics.add(1, 10, math.nan, 0.1)
    assert metrics.summary() == {}
    for epoch, loss in enumerate(losses, 1):
        metrics.add(epoch, 10 * epoch, loss, 0.1)
    assert metrics.lowest == {"epoch": 3, "step": 30, "loss": 0.5, "accuracy": 0.1}
    resumed = TestMetrics()
    resumed.load_state_dict(metrics.state_dict())
    assert resumed.summary() == metrics.summary()


def test_a_missing_test_set_is_reported(tmp_path):
    with pytest.raises(ValueError, match=r"^test_metrics: the data has no test set"):
        fit(Plain(), tmp_path, TestMetrics(), max_epochs=1)
