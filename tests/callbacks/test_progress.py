"""The progress bar shows the current epoch and does not change the run."""

import io
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import Progress

from start_training.callbacks.progress import TrainingProgress, _metrics, bar_columns
from start_training.callbacks.range_test import RangeTest
from start_training.runs.metrics_file import MetricsFile
from tests.callbacks.tasks import BATCHES, TEST, Plain, Resumable, fit, small, weights

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


@pytest.mark.parametrize(
    ("logged", "shown"),
    [
        (("train/loss", "val/loss", "val/accuracy"), "train/loss 0.5 val/accuracy 0.5"),
        (("train/loss", "val/loss", "val/r2"), "train/loss 0.5 val/r2 0.5"),
        (("val/loss", "train/loss"), "train/loss 0.5 val/loss 0.5"),
        (("train/loss",), "train/loss 0.5"),
        ((), ""),
    ],
)
def test_the_bar_shows_the_training_loss_and_one_number_of_the_validation_for_any_task(logged, shown):
    trainer = SimpleNamespace(callback_metrics={name: torch.tensor(0.5) for name in logged})
    assert _metrics(trainer) == shown


def test_the_bar_is_whole_in_80_columns():
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    with Progress(*bar_columns(), console=console) as bar:
        metrics = "train/loss 0.0123 val/accuracy 0.987"
        bar.add_task("", total=39_100, completed=38_900, epoch="100/100", metrics=metrics)
        bar.refresh()
        line = "".join(segment.text for segment in console.render(bar.get_renderable()))
    assert "epoch 100/100 " in line and "38900/39100" in line and metrics in line and "…" not in line


def test_a_range_test_has_a_bar_of_its_own_and_a_run_that_ends_with_it_no_other(tmp_path, monkeypatch):
    terminal, shown = Console(width=80, file=io.StringIO(), force_terminal=True), []
    monkeypatch.setattr("start_training.callbacks.progress.Console", lambda **_: terminal)
    monkeypatch.setattr(TrainingProgress, "on_train_end", lambda self, *_: shown.append(self._progress))
    for stop in (True, False):
        fit(Plain(), tmp_path, RangeTest(**TEST, stop=stop), TrainingProgress(), enable_progress_bar=True)
    assert shown[0] is None and shown[1] is not None
    shown[1].stop()
    assert "range test" in terminal.file.getvalue() and "0/20" in terminal.file.getvalue()
