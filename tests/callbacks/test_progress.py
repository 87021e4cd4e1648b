"""The bar shows the epoch that is being trained, and a run does not notice it."""

import pytest
import pytorch_lightning as pl
import torch
from rich.progress import Progress
from torch import nn

from src.callbacks.last_checkpoint import LastCheckpoint
from src.callbacks.progress import TrainingProgress
from src.models.classifier import Classifier
from src.runs.metrics_file import MetricsFile
from tests.callbacks.tasks import BATCHES, PLAIN_SGD, Resumable, fit, small

pytestmark = small
LENGTHS = [{"max_epochs": -1, "max_steps": 14}, {"max_epochs": 3, "max_steps": 12}]


def run(directory, *callbacks, **options):
    directory.mkdir(exist_ok=True)
    torch.manual_seed(0)
    classifier = Classifier(nn.Linear(8, 3), PLAIN_SGD, classes=3)
    classifier.train_dataloader = Resumable().train_dataloader
    options |= {
        "logger": MetricsFile(directory),
        "limit_val_batches": 0,
        "enable_checkpointing": True,
        "enable_progress_bar": bool(callbacks),
    }
    fit(classifier, directory, *callbacks, LastCheckpoint(directory / "last.ckpt"), **options)
    return (directory / "metrics.csv").read_text(), torch.load(directory / "last.ckpt", weights_only=True)


class Look(pl.Callback):
    """Which epoch and how many steps the bar shows at every batch."""

    def __init__(self, monkeypatch) -> None:
        class Kept(Progress):
            def start(bar) -> None:
                self.bar = bar

        monkeypatch.setattr("src.callbacks.progress.Progress", Kept)
        self.epochs: list[str] = []
        self.steps: list[int] = []

    def on_train_batch_start(self, *_):
        [task] = self.bar.tasks
        self.epochs.append(task.fields["epoch"])
        self.steps.append(task.completed)

    def on_train_epoch_end(self, *_):
        self.completed = self.bar.tasks[0].completed

    def on_train_end(self, *_):
        self.last = self.bar.tasks[0]
        self.epochs.append(self.last.fields["epoch"])
        assert self.last.fields["metrics"].startswith("train/loss ")


@pytest.mark.parametrize("length", LENGTHS)
def test_it_shows_the_epoch_that_is_being_trained_and_leaves_the_run_as_it_is(tmp_path, monkeypatch, length):
    metrics, checkpoint = run(tmp_path / "plain", **length)
    look, steps = Look(monkeypatch), length["max_steps"]
    other_metrics, other_checkpoint = run(tmp_path / "shown", TrainingProgress(), look, **length)
    assert metrics == other_metrics and f"\n{steps - 1}," in metrics  # the last epoch's row
    for name, value in checkpoint["state_dict"].items():
        assert torch.equal(value, other_checkpoint["state_dict"][name])
    assert str(checkpoint) == str(other_checkpoint)
    trained = [f"{step // BATCHES + 1}" + "/3" * (length["max_epochs"] == 3) for step in range(steps)]
    assert look.epochs == [*trained, trained[-1]]
    # Refreshed with the first batch of an epoch and at its end.
    assert look.steps == [0 if step == 0 else step // BATCHES * BATCHES + (step % BATCHES > 0) for step in range(steps)]
    assert (look.completed, look.last.total) == (steps, steps)
