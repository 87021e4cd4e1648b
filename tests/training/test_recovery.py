"""A watched run: after a collapse it goes on at half the rate, and it ends with the weights of its best epoch."""

import math

import pandas as pd
import pytorch_lightning as pl
import torch

from start_training.runs.directory import RunDirectory
from start_training.training.recovery import Recovery
from tests.signalling import interrupted, resume

WATCHED = ("callbacks=recovery", "schedule=one_cycle", "trainer.max_epochs=4")
TOO_LARGE = (*WATCHED, "optimizer.lr=64")


def recovery_of(directory):
    return RunDirectory(directory).summary()["recovery"]


def test_a_run_whose_rate_is_too_large_goes_on_at_half_of_it(trained):
    directory = trained(*TOO_LARGE)
    summary = RunDirectory(directory).summary()
    restarts = summary["recovery"]["restarts"]
    assert summary["status"] == "completed" and 1 <= len(restarts) <= 6
    assert all(restart["back_to"] <= restart["step"] for restart in restarts)
    assert RunDirectory(trained("schedule=one_cycle", "callbacks=none", "optimizer.lr=1e30")).summary()["status"] == (
        "diverged"
    )  # what happens to a run that is not watched
    rates = pd.read_parquet(directory / "hyperparameters")["learning_rate"]
    shares = rates / rates.max()
    assert rates.iloc[-1] < 1e-3 and shares.iloc[-1] <= 0.5 ** len(restarts)  # end is 1e-4 of the largest rate


def test_a_run_that_needs_no_help_is_the_same_as_one_that_is_not_watched(trained):
    watched = trained(*WATCHED, "optimizer.lr=0.01")
    assert recovery_of(watched) == {"restarts": [], "kept": {}}
    alone = trained("callbacks=none", *WATCHED[1:], "optimizer.lr=0.01")
    assert RunDirectory(watched).summary()["metrics"] == RunDirectory(alone).summary()["metrics"]


def test_an_interrupted_run_that_was_restarted_resumes_to_the_same_result(config, trained, tmp_path):
    step = recovery_of(trained(*TOO_LARGE))["restarts"][0]["step"] + 3
    settings = config(*TOO_LARGE)
    interrupted(settings, tmp_path, step)
    assert resume(settings, tmp_path)["status"] == "completed"
    whole = trained(*TOO_LARGE)
    assert recovery_of(tmp_path)["restarts"] == recovery_of(whole)["restarts"]
    assert (whole / "metrics.csv").read_text() == (tmp_path / "metrics.csv").read_text()
    pd.testing.assert_frame_equal(
        pd.read_parquet(whole / "hyperparameters"), pd.read_parquet(tmp_path / "hyperparameters"), check_exact=True
    )


class Spoil(pl.LightningModule):
    """Its validation loss is best in the first epoch; `weight` counts the epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        return 1 + 0 * self.weight.sum()

    def validation_step(self, batch, batch_idx):
        with torch.no_grad():
            self.weight += 1
        self.log("val/loss", self.weight.sum() ** 2)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_weights_of_the_best_epoch_are_kept_if_the_end_is_clearly_worse():
    loader = torch.utils.data.DataLoader(torch.zeros(4, 1), batch_size=4)
    callback, module = Recovery(), Spoil()
    trainer = pl.Trainer(max_epochs=3, callbacks=[callback], logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
                         accelerator="cpu")  # fmt: skip
    trainer.fit(module, loader, loader)
    assert callback.kept == {"epoch": 1, "val/loss": 1.0}
    assert module.weight.tolist() == [1.0]


def test_what_counts_as_a_clearly_worse_end():
    callback = Recovery()
    callback._validated, callback._best = 100, {"value": 0.9}
    assert not callback._is_worse({"val/accuracy": 0.85}) and callback._is_worse({"val/accuracy": 0.80})
    assert callback._is_worse({"val/accuracy": math.nan})
    callback._best = {"value": 1.0}
    assert not callback._is_worse({"val/loss": 1.04}) and callback._is_worse({"val/loss": 1.06})
