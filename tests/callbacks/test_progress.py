"""The bar shows the epoch that is being trained, and a run does not notice it."""

import pytest
import pytorch_lightning as pl
import torch
from rich.progress import Progress

from start_training.callbacks.progress import TrainingProgress
from start_training.runs.metrics_file import MetricsFile
from tests.callbacks.tasks import BATCHES, Resumable, fit, small, weights

pytestmark = small


class Logging(Resumable):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("train/loss", loss, on_epoch=True, batch_size=len(batch[1]))
        return loss


class Look(pl.Callback):
    """Which epoch and how many steps the bar shows at every batch."""

    def __init__(self, monkeypatch) -> None:
        class Kept(Progress):
            def start(bar) -> None:
                self.bar = bar

        monkeypatch.setattr("start_training.callbacks.progress.Progress", Kept)
        self.shown: list[tuple[str, int]] = []

    def on_train_batch_start(self, *_):
        [task] = self.bar.tasks
        self.shown.append((task.fields["epoch"], task.completed))

    def on_train_end(self, *_):
        self.on_train_batch_start()
        assert self.bar.tasks[0].fields["metrics"].startswith("train/loss ")


@pytest.mark.parametrize("length", [{"max_epochs": -1, "max_steps": 14}, {"max_epochs": 3, "max_steps": 12}])
def test_it_shows_the_epoch_that_is_being_trained_and_leaves_the_run_as_it_is(tmp_path, monkeypatch, length):
    alone, watched, look, logger = Logging(), Logging(), Look(monkeypatch), MetricsFile(tmp_path)
    fit(alone, tmp_path, **length)
    fit(watched, tmp_path, TrainingProgress(), look, **length, logger=logger, enable_progress_bar=True)
    assert torch.equal(weights(alone), weights(watched))
    steps = length["max_steps"]
    epochs = [f"{step // BATCHES + 1}" + "/3" * (length["max_epochs"] == 3) for step in range(steps)]
    # Refreshed with the first batch of an epoch and at its end.
    done = [0 if step == 0 else step // BATCHES * BATCHES + (step % BATCHES > 0) for step in range(steps)]
    assert look.shown == list(zip([*epochs, epochs[-1]], [*done, steps], strict=True))
    assert look.bar.tasks[0].total == steps
