"""The progress bar shows the current epoch and does not change the run."""

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


class ShownValues(pl.Callback):
    """Records the epoch and the number of steps that the bar shows at every batch."""

    def __init__(self, monkeypatch) -> None:
        class StoredProgress(Progress):
            def start(bar) -> None:
                self.bar = bar

        monkeypatch.setattr("start_training.callbacks.progress.Progress", StoredProgress)
        self.shown: list[tuple[str, int]] = []

    def on_train_batch_start(self, *_):
        [task] = self.bar.tasks
        self.shown.append((task.fields["epoch"], task.completed))

    def on_train_end(self, *_):
        self.on_train_batch_start()
        assert self.bar.tasks[0].fields["metrics"].startswith("train/loss ")


@pytest.mark.parametrize("length", [{"max_epochs": -1, "max_steps": 14}, {"max_epochs": 3, "max_steps": 12}])
def test_the_bar_shows_the_current_epoch_and_does_not_change_the_run(tmp_path, monkeypatch, length):
    alone, watched, recorder, logger = Logging(), Logging(), ShownValues(monkeypatch), MetricsFile(tmp_path)
    fit(alone, tmp_path, **length)
    fit(watched, tmp_path, TrainingProgress(), recorder, **length, logger=logger, enable_progress_bar=True)
    assert torch.equal(weights(alone), weights(watched))
    steps = length["max_steps"]
    epochs = [f"{step // BATCHES + 1}" + "/3" * (length["max_epochs"] == 3) for step in range(steps)]
    # Refreshed with the first batch of an epoch and at its end.
    done = [0 if step == 0 else step // BATCHES * BATCHES + (step % BATCHES > 0) for step in range(steps)]
    assert recorder.shown == list(zip([*epochs, epochs[-1]], [*done, steps], strict=True))
    assert recorder.bar.tasks[0].total == steps
