"""The bar shows the epoch that is being trained, and a run does not notice it."""

import pytest
import pytorch_lightning as pl
import torch
from rich.progress import Progress
from torch import nn

from src.callbacks.last_checkpoint import LastCheckpoint
from src.callbacks.progress import TrainingProgress
from src.datamodules.batch_order import BatchOrder
from src.datamodules.loader import TrainingLoader
from src.datamodules.samples import Samples
from src.models.classifier import Classifier
from src.runs.metrics_file import MetricsFile

BATCHES = 5
LENGTHS = [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 12}, {"max_epochs": 3, "max_steps": 10}]


def fit(directory, *callbacks, ckpt_path=None, **length):
    generator = torch.Generator().manual_seed(0)
    samples = Samples(torch.randn(20, 4, generator=generator), torch.randint(3, (20,), generator=generator))
    checkpoint = LastCheckpoint(directory / "last.ckpt")
    trainer = pl.Trainer(
        accelerator="cpu", logger=MetricsFile(directory), callbacks=[*callbacks, checkpoint], limit_val_batches=0,
        enable_model_summary=False, enable_progress_bar=bool(callbacks), log_every_n_steps=1, **length,
    )  # fmt: skip
    torch.manual_seed(0)
    classifier = Classifier(nn.Linear(4, 3), lambda weights: torch.optim.SGD(weights, lr=0.1), classes=3)
    trainer.fit(classifier, TrainingLoader(samples, BatchOrder(20, 20 // BATCHES)), [], ckpt_path=ckpt_path)


def plain(saved):
    """What a checkpoint holds, to be compared: its tensors as lists."""
    if isinstance(saved, dict):
        return {name: plain(value) for name, value in saved.items()}
    if isinstance(saved, list | tuple):
        return [plain(value) for value in saved]
    return saved.tolist() if isinstance(saved, torch.Tensor) else saved


@pytest.mark.parametrize("length", LENGTHS)
def test_a_run_leaves_the_same_files_with_and_without_it(tmp_path, length):
    files = []
    for name, bars in (("plain", []), ("shown", [TrainingProgress()])):
        (tmp_path / name).mkdir()
        fit(tmp_path / name, *bars, **length)
        saved = torch.load(tmp_path / name / "last.ckpt", weights_only=True)
        files.append(((tmp_path / name / "metrics.csv").read_text(), saved))
    (metrics, checkpoint), (other_metrics, other_checkpoint) = files
    assert metrics == other_metrics
    assert "\n14," in metrics or "\n9," in metrics  # the last epoch's row
    assert plain(checkpoint) == plain(other_checkpoint)


class Look(pl.Callback):
    """Which epoch the bar shows at every batch."""

    def __init__(self, monkeypatch) -> None:
        class Kept(Progress):
            def start(bar) -> None:
                self.bar = bar

        monkeypatch.setattr("src.callbacks.progress.Progress", Kept)
        self.shown: list[str] = []

    def on_train_batch_start(self, *_):
        self.shown.append(self.bar.tasks[0].fields["epoch"])

    def on_train_end(self, *_):
        self.shown.append(self.bar.tasks[0].fields["epoch"])


@pytest.mark.parametrize("length", LENGTHS)
def test_it_shows_the_epoch_that_is_being_trained(tmp_path, monkeypatch, length):
    look = Look(monkeypatch)
    fit(tmp_path, TrainingProgress(), look, **length)
    steps = length.get("max_steps", 3 * BATCHES)
    of = "/3" if length["max_epochs"] == 3 else ""
    trained = [f"{step // BATCHES + 1}{of}" for step in range(steps)]
    assert look.shown == [*trained, trained[-1]]


def test_resumed_it_goes_on_from_the_epoch_of_the_checkpoint(tmp_path, monkeypatch):
    fit(tmp_path, max_epochs=1)
    look = Look(monkeypatch)
    fit(tmp_path, TrainingProgress(), look, max_epochs=2, ckpt_path=tmp_path / "last.ckpt")
    assert look.shown == ["2/2"] * (BATCHES + 1)
