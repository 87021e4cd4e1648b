"""The recipe command: its budget, its tests and short runs, its baselines, its report, and what it falls back to."""

import json
import shutil
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from start_training.runs.directory import RunDirectory
from start_training.schedules.budget import FORWARD, LEAST_SHARE
from start_training.studies.recipe_comparison import compared
from start_training.studies.recipe_search import optimizer_options
from start_training.studies.trials import Option
from tests.composing import QUICK, composed_of, start
from tests.wandb_records import logged, records

STEPS, EPOCHS, BATCH = 11, 24, 128  # optimizer steps in an epoch, epochs of the budget, samples in a step


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Path:
    """The directory of a finished recipe."""
    return start("recipe", tmp_path_factory.mktemp("recipe") / "here")


def runs_of(directory: Path) -> list[tuple[dict, dict]]:
    """(config, summary) of each run of a recipe."""
    finished = [RunDirectory(path.parent) for path in directory.glob("runs/*/summary.json")]
    return [
        ({**run.unchecked_config(), "callbacks": run.unchecked_config()["callbacks"] or {}}, run.summary())
        for run in finished
    ]


@pytest.fixture
def runs(followed) -> list[tuple[dict, dict]]:
    return runs_of(followed)


def summary_of(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


def test_search_and_the_last_run_are_within_the_budget_validations_of_range_tests_included(runs):
    cycles = [(config, summary) for config, summary in runs if "cycle" in (config["schedule"] or {})]
    [(test, found)] = [(config["callbacks"]["range_test"], summary["range_test"]) for config, summary in runs
                       if "range_test" in config["callbacks"]]  # fmt: skip
    short, last = sorted({config["trainer"]["max_epochs"] for config, _ in cycles})
    passes = test["val_points"] * FORWARD * test["val_samples"] / BATCH
    searched = [summary["steps"] for config, summary in cycles if config["trainer"]["max_epochs"] == short]
    assert len(searched) == 3 * 2  # three weight decays, two seeds
    assert sum(searched) + found["updates"] + passes + last * STEPS <= EPOCHS * STEPS + STEPS / 2
    assert last >= LEAST_SHARE * EPOCHS - 0.5


def test_short_runs_have_no_test_accuracy(runs):
    for config, summary in runs:
        is_short = config["schedule"] and config["trainer"]["max_epochs"] == 1
        assert ("test/accuracy" in summary["metrics"]) == (not is_short and "range_test" not in config["callbacks"])


def test_the_last_run_uses_the_chosen_settings_and_the_baselines_those_of_the_optimizer_and_the_habit(runs):
    baselines = [config for config, _ in runs if "recovery" not in config["callbacks"]
                 and "range_test" not in config["callbacks"] and config["trainer"]["max_epochs"] >= EPOCHS]  # fmt: skip
    assert {config["trainer"]["max_epochs"] for config in baselines} == {24, 48}
    kinds = {
        (config["optimizer"]["_target_"], config["optimizer"]["lr"], bool(config["schedule"])) for config in baselines
    }
    assert kinds == {("torch.optim.SGD", 0.01, False), ("torch.optim.AdamW", 1e-3, True)}
    assert len(baselines) == 2 * 2 * 2  # epochs, kinds, seeds
    watched = [config for config, _ in runs if "recovery" in config["callbacks"]]
    assert {config["seed"] for config in watched} == {0, 1}
    assert len({config["optimizer"]["lr"] for config in watched}) == 1


def test_the_report_states_the_numbers_of_the_summary(followed):
    report, summary = (followed / "report.md").read_text(), summary_of(followed)
    assert summary["text"] == report and "nan" not in report and "0 steps" not in report
    ours, *baselines = summary["results"]
    for baseline in baselines:
        difference = 100 * (ours["test/accuracy"] - baseline["test/accuracy"])
        deviation = 100 * np.hypot(ours["test/accuracy s.e."], baseline["test/accuracy s.e."])
        assert f"{difference:+.2f} ± {deviation:.2f} points against {baseline['option']}" in report
    lost = any(ours["test/accuracy"] < baseline["test/accuracy"] for baseline in baselines)
    assert ("Warning: " in report) == lost
    assert sum(line.startswith("- ") for line in report.splitlines()) <= 5
    assert "weight decay: " in report and "Not searched, a usual value is kept: momentum." in report
    assert matplotlib.image.imread(followed / "figures" / "recipe.png").std() > 0


def test_a_finished_recipe_is_reported_again_and_one_interrupted_at_its_end_repeats_no_run(followed, shell, tmp_path):
    here = tmp_path / "here"
    shutil.copytree(followed, here)
    before = {path: path.stat().st_mtime_ns for path in here.glob("runs/*/summary.json")}
    status, output, errors = shell("recipe", *QUICK["recipe"], "hydra.run.dir=here")
    assert (status, errors, output[-1]) == (0, [], "figure: here/figures/recipe.png")
    (here / "summary.json").unlink()
    start("recipe", here, "logger=wandb")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    mirrored = logged(records(here))
    assert (mirrored["recipe._type"], mirrored["options._type"]) == ("image-file", "table-file")


class LogsItsLoss(pl.LightningModule):
    def __init__(self, net, optimizer, schedule=None) -> None:
        super().__init__()
        self.net, self.optimizer, self.schedule = net, optimizer, schedule

    def loss(self, batch):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(batch), batch_size=len(batch[0]))

    def configure_optimizers(self):
        optimizer = self.optimizer(self.parameters())
        schedule = self.schedule and {"scheduler": self.schedule(optimizer), "interval": "step"}
        return {"optimizer": optimizer, **({"lr_scheduler": schedule} if schedule else {})}


SMALL = ("seeds=1", "times=1", "weight_decays=null", "budget=4")
KINDS = {
    "regression": ("task=regression", "datamodule=diabetes", "datamodule.batch_size=64", "baselines=false"),
    "a baseline that diverges before it was validated": ("baseline_lrs=[1e30]",),
    "a cosine with warm-up, AdamW": ("schedule=warmup_cosine", "optimizer=adamw", "baselines=false"),
    "a residual net": ("model=residual", "model.modules=4", "model.width=16", "baselines=false"),
    "compared by the accuracy": ("monitor=val/accuracy", "baselines=false"),
    "a LightningModule of the user's without test_step": (
        *("task=own", f"task._target_={__name__}.LogsItsLoss", "baseline_lrs=[0.01]"),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_with_a_result(tmp_path, kind):
    directory = start("recipe", tmp_path / "here", *SMALL, *KINDS[kind])
    summary, report = summary_of(directory), (directory / "report.md").read_text()
    assert summary["status"] == "completed" and "nan" not in report.lower() and "Mean over 1" not in report
    [(_, last)] = [run for run in runs_of(directory) if "recovery" in run[0]["callbacks"]]
    assert last["status"] == "completed"
    assert len(summary["results"]) == (1 if "baselines=false" in KINDS[kind] else 3)
    assert ("diverged" in report) == ("diverges" in kind)
    assert pd.read_parquet(directory / "epochs.parquet")["val/loss"].notna().any()


def test_a_net_that_sgd_will_not_train_is_said_to_be_so_and_trained_by_adamw(tmp_path, capsys):
    sick = ("model.depth=30", "initializer=lecun_normal", "baselines=false")
    directory = start("recipe", tmp_path / "here", *SMALL, *sick)
    printed = capsys.readouterr().out
    assert printed.startswith("The net is not expected to start training with sgd") and "initializer=auto" in printed
    assert "0 steps" not in printed
    [reason] = summary_of(directory)["fallbacks"]
    assert "AdamW at 0.003" in reason
    assert "optimizer=adamw" in summary_of(directory)["overrides_of_last_run"]


RANGE_TEST = {"steps": 30, "val_points": 10, "val_samples": 60}


def test_what_is_typed_for_the_range_test_is_used_and_counted(tmp_path):
    typed = [f"range_tests.range_test.{key}={value}" for key, value in RANGE_TEST.items()]
    words = ("range_tests.range_test.adaptive=true", "seeds=1", "weight_decays=null", "budget=8", "baselines=false")
    runs = runs_of(start("recipe", tmp_path / "here", *typed, *words))
    [made] = [config["callbacks"]["range_test"] for config, _ in runs if "range_test" in config["callbacks"]]
    assert {key: made[key] for key in RANGE_TEST} == RANGE_TEST and made["adaptive"] and made["max_lr"] == 10
    [last] = [config["trainer"]["max_epochs"] for config, _ in runs if "recovery" in config["callbacks"]]
    assert last == round(8 - (30 + 10 * FORWARD * 60 / BATCH) / STEPS)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("steps=200", "steps = 200: a range test takes 20.4 of budget = 8 epochs; must leave one at least"),
        ("val_points=100", "val_points = 100: must be at most 12, the steps of a range test of this budget; or type"),
    ],
)
def test_a_typed_range_test_that_the_budget_does_not_allow_is_refused(tmp_path, typed, message):
    with pytest.raises(ValueError, match=f"^range_tests.range_test.{message}"):
        start("recipe", tmp_path / "here", f"range_tests.range_test.{typed}", "budget=8", "weight_decays=null")


def test_optimizers_are_compared_when_asked(tmp_path):
    words = ("seeds=1", "times=1", "weight_decays=null", "budget=40", "optimizers=[sgd,adamw]", "baselines=false")
    report = (start("recipe", tmp_path / "here", *words) / "report.md").read_text()
    assert "- optimizer: " in report and "| sgd |" in report and "| adamw |" in report


class FinishedRun:
    def __init__(self, loss: float) -> None:
        self.loss = loss

    def metric(self, name: str) -> float:
        return self.loss


def short_runs(name: str, *losses: float) -> Option:
    runs: list[Any] = [FinishedRun(loss) for loss in losses]
    return Option(name, {}, {"trainer.max_epochs": 1}, runs=runs)


@pytest.mark.parametrize(
    ("default", "other", "chosen"),
    [
        ((1.0, 1.1), (0.9, 1.0), "default"),  # within the noise
        ((1.0, 1.1), (0.5, 0.52), "other"),
        ((0.5, 0.52), (1.0, 1.1), "default"),
        ((np.inf, np.inf), (1.0, 1.1), "other"),
    ],
)
def test_a_candidate_is_chosen_only_if_it_is_told_apart(default, other, chosen):
    comparison = compared("weight decay", [short_runs("default", *default), short_runs("other", *other)])
    assert comparison.chosen.name == chosen
    assert ("not told apart" in comparison.sentence) == (not comparison.told_apart)


def test_the_optimizer_of_the_config_keeps_its_settings_in_a_comparison():
    sgd, adamw = optimizer_options(["sgd", "adamw"], {"optimizer": {"_target_": "torch.optim.SGD", "lr": 1}})
    assert sgd.changes == {} and str(adamw.changes["optimizer"]) == "adamw"
    assert composed_of("recipe")["optimizers"] is None
