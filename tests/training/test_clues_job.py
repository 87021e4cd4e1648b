"""The clues of runs constructed as examples of each verdict, and where they are written."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir

from start_training.config.composed import plain
from start_training.datamodules.digits import Digits
from start_training.datamodules.samples import Samples
from start_training.reports.run_clues import chance_from_r2, epochs_of
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.schedules import clue_verdicts as verdicts
from start_training.training.train import train
from tests.small_runs import CONF

NET = ("model.depth=3", "callbacks=none", "logger=csv", "trainer.enable_progress_bar=false")


class WronglyLabelled(Digits):
    """Digits of which 30% have random labels, so that a net that fits them overfits."""

    def load(self) -> tuple[Samples, Samples]:
        training, test = super().load()
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randint(10, training.targets.shape, generator=generator)
        wrong = torch.rand(len(drawn), generator=generator) < 0.3
        return Samples(training.inputs, torch.where(wrong, drawn, training.targets)), test


def composed(*overrides: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("train", [*NET, *overrides]))


def wrongly_labelled(*overrides: str) -> dict:
    config = composed(*overrides)
    config["datamodule"]["_target_"] = f"{__name__}.WronglyLabelled"
    return config


def rising(epochs: int = 30, gamma: float = 1.013) -> dict:
    """A learning rate that grows by the factor `gamma` in every step: 3400-fold in 630 steps."""
    ramp = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "_partial_": True, "gamma": gamma}
    return {**composed("optimizer.lr=1e-3", f"trainer.max_epochs={epochs}"), "schedule": ramp}


CASES = {  # settings and correct verdicts
    "too small a rate": (composed, ["optimizer.lr=3e-4"], {verdicts.UNDERFITTING}),
    "too few epochs": (composed, ["optimizer.lr=1e-3", "trainer.max_epochs=8"], {verdicts.UNDERFITTING}),
    "wrong labels": (wrongly_labelled, ["optimizer.lr=0.03"], {verdicts.OVERFITTING}),
    "random labels": (composed, ["datamodule=random_inputs", "optimizer.lr=0.03"], {verdicts.OVERFITTING}),
    "the default": (composed, [], {verdicts.PLATEAU, verdicts.MEMORIZED}),  # without weight decay
    "adam": (composed, ["optimizer=adam"], {verdicts.PLATEAU, verdicts.MEMORIZED}),
    "too much weight decay": (composed, ["optimizer.weight_decay=0.1"], {verdicts.REGULARIZED}),
    "too large a rate": (composed, ["optimizer.lr=0.3"], {verdicts.INSTABILITY}),
    "a rate that rises": (rising, [], {verdicts.INSTABILITY, verdicts.CANDIDATE}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_clues_of_a_run_name_its_case(case, tmp_path):
    build, overrides, right = CASES[case]
    config = build(*overrides) | {"callbacks": None}
    read: list[str] = []
    for seed in range(10, 13):
        if sum(verdict in right for verdict in read) == 2:
            break  # two of three are enough
        config["seed"] = config["datamodule"]["seed"] = seed
        read.append(train(Job(config, tmp_path / str(seed)))["clues"]["verdict"])
    assert sum(verdict in right for verdict in read) >= 2, read


def test_the_summary_has_the_clues_and_their_evidence(tmp_path):
    clues = train(Job(composed("optimizer.lr=1e-3", "trainer.max_epochs=8"), tmp_path))["clues"]
    epochs = epochs_of(RunDirectory(tmp_path))
    assert clues["verdict"] == verdicts.UNDERFITTING
    what, evidence, first = (*clues["text"].split(". ", 1), clues["advice"])
    assert what.startswith("underfitting: the run ended before ")
    assert evidence.startswith("Validation loss still falls at the end of the run, by ")
    assert first == "Try first: twice as many epochs, or a learning rate of 0.003 instead of 0.001."
    assert len(epochs) == 8  # the row of the test is none
    assert clues["numbers"]["best_val_loss"] == epochs["val/loss"].min()


def test_the_chance_loss_of_a_regression_follows_from_r2():
    rows = pd.DataFrame({"val/loss": [8.0, np.inf, np.nan, 2.0], "val/r2": [-1.0, -np.inf, np.nan, 0.5]})
    assert chance_from_r2({"task": {"loss": None}}, rows, "val/loss", "val/r2") == 4.0
    assert chance_from_r2({"task": {"loss": {"_target_": "torch.nn.HuberLoss"}}}, rows, "val/loss", "val/r2") is None
    assert chance_from_r2({}, rows[1:2], "val/loss", "val/r2") is None


SINGLE_RAMP = "callbacks.range_test.adaptive=false"  # over a wide range of rates


@pytest.mark.parametrize(
    "overrides, verdict",
    [
        (["optimizer.lr=1e30"], verdicts.INSTABILITY),
        (["trainer.max_epochs=1", "datamodule.validation=0"], verdicts.NO_VALIDATION),
        (["trainer.max_epochs=1", "+trainer.val_check_interval=0.25", "optimizer.lr=1e-3"], verdicts.TOO_SHORT),
        (["callbacks=range_test", "callbacks.range_test.stop=true", SINGLE_RAMP], verdicts.CANDIDATE),
    ],
)
def test_every_run_has_a_verdict(overrides, verdict, tmp_path):
    summary = train(Job(composed(*overrides), tmp_path))
    assert summary["clues"]["verdict"] == verdict
    assert RunDirectory(tmp_path).summary()["clues"] == summary["clues"]
    if summary["status"] == "diverged":
        assert summary["reason"].endswith(f"step {summary['clues']['from_step']} is not finite")


def test_the_learning_rate_in_a_clue_is_that_of_the_schedule(tmp_path):
    clues = train(Job(rising(24, 1.016), tmp_path))["clues"]
    assert clues["from_step"] > 100
    if clues["verdict"] == verdicts.INSTABILITY:
        assert math.isclose(clues["rate"], 1e-3 * 1.016 ** clues["from_step"], rel_tol=1e-6)
    assert clues["verdict"] in (verdicts.INSTABILITY, verdicts.CANDIDATE)


def test_clues_are_printed_in_one_line_and_not_in_a_sweep(shell):
    settings = [*NET, "trainer.max_epochs=1"]
    status, output, _ = shell("train", *settings, "hydra.run.dir=run")
    [line] = [line for line in output if line.startswith("clues: ")]
    assert status == 0
    assert json.loads(Path("run/summary.json").read_text())["clues"]["text"] in line
    _, output, _ = shell("train", "-m", *settings, "hydra.sweep.dir=sweep")
    assert not [line for line in output if "clues" in line]
