"""The recipe command: its budget, its range tests and runs, its baselines, and its report."""

import json
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from start_training.runs.directory import RunDirectory
from tests.composing import QUICK, start
from tests.wandb_records import logged, records

STEPS = 11  # optimizer steps in an epoch


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Path:
    """The directory of a finished recipe."""
    return start("recipe", tmp_path_factory.mktemp("recipe") / "here")


@pytest.fixture
def runs(followed) -> list[tuple[dict, dict]]:
    """(config, summary) of each run of the recipe."""
    finished = [RunDirectory(path.parent) for path in followed.glob("runs/*/summary.json")]
    return [({**run.config(), "callbacks": run.config()["callbacks"] or {}}, run.summary()) for run in finished]


def test_search_and_the_last_run_are_within_the_budget(runs):
    cycles = [(config, summary) for config, summary in runs if config["schedule"]]
    tests = [summary["range_test"] for _, summary in runs if "range_test" in summary]
    assert (
        len(tests) == 2 + 1 + 2
    )  # two weight decays, the first test, one by bisection, and two momenta share one test
    short, last = sorted({config["trainer"]["max_epochs"] for config, _ in cycles})
    of_seed_zero = sum(summary["steps"] for config, summary in cycles if config["seed"] == 0)
    # The budget is an upper limit, because a range test that diverges ends early.
    assert of_seed_zero + sum(test["steps"] for test in tests) <= 24 * STEPS
    assert of_seed_zero == (2 * short + last) * STEPS
    assert last > 2 * short


def test_range_tests_are_linear_around_the_rate_that_the_first_one_finds(runs):
    tests = [config["callbacks"]["range_test"] for config, _ in runs if "range_test" in config["callbacks"]]
    [first] = [summary["range_test"]["max_lr"] for config, summary in runs
               if config["callbacks"].get("range_test", {}).get("ramp") == "exponential"]  # fmt: skip
    linear = [test for test in tests if test["ramp"] == "linear"]
    assert len(linear) == 4
    for test in linear:
        assert test["max_lr"] / test["min_lr"] == pytest.approx(60)
        assert test["max_lr"] == pytest.approx(6 * first, rel=0.05)


def test_the_last_run_uses_the_chosen_settings_and_the_baselines_those_of_the_optimizer(followed, runs):
    options = pd.read_csv(followed / "options.csv")
    momenta = options[options["option"].str.match(r"0\.9")].set_index("option")
    chosen = momenta["val/loss"].idxmin()
    [last] = {config["optimizer"]["lr"] for config, _ in runs if config["schedule"] and config["seed"] == 1}
    assert last == momenta.loc[chosen, "max_lr"]
    fixed = [config for config, _ in runs if not config["schedule"] and "range_test" not in config["callbacks"]]
    assert {config["trainer"]["max_epochs"] for config in fixed} == {24, 48}
    assert {config["optimizer"]["weight_decay"] for config in fixed} == {0.0}
    assert {config["optimizer"]["lr"] for config in fixed} == {0.01, float(f"{last / 3:.2g}")}
    assert len(fixed) == 2 * 2 * 2  # epochs, rates, seeds


def test_the_report_states_the_numbers_of_the_summary(followed):
    report = (followed / "report.md").read_text()
    summary = json.loads((followed / "summary.json").read_text())
    assert summary["text"] == report
    ours, *baselines = summary["results"]
    for baseline in baselines:
        difference = 100 * (ours["test/accuracy"] - baseline["test/accuracy"])
        deviation = 100 * np.hypot(ours["test/accuracy s.e."], baseline["test/accuracy s.e."])
        note = " (not significant: within two standard errors of 0)" if abs(difference) <= 2 * deviation else ""
        line = f"minus that of {baseline['option']}: {difference:+.2f} ± {deviation:.2f} points{note}\n"
        assert f"- test accuracy of the recipe {line}" in report
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
