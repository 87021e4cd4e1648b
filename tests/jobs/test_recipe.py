"""The recipe: it keeps to its budget, trains with what it found, and compares with what it says."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from scripts.recipe import main
from src.runs.directory import RunDirectory
from tests.jobs.conftest import CONF

SCRIPT = CONF.parent / "scripts" / "recipe.py"
STEPS = 11  # an epoch
QUICK = (
    "model.depth=2",
    "model.width=16",
    "datamodule.batch_size=128",
    "weight_decays=[1e-2,1e-4]",
    "budget=24",
    "times=2",
    "range_tests.range_test.min_lr=1e-2",  # so few steps are to be spent where something is learned
    "seeds=2",
    "logger=csv",
    "hydra.run.dir=here",
)


@pytest.fixture
def attempt(shell):
    """Call the script as the shell would: its exit status, and its lines on stdout and stderr."""
    return lambda *arguments: shell(SCRIPT, main, *arguments)


@pytest.fixture
def followed(attempt, tmp_path) -> Path:
    """The directory of a recipe that was followed."""
    status, output, errors = attempt(*QUICK)
    assert (status, errors) == (0, [])
    assert output[-1] == "figure: here/figures/recipe.png"
    return tmp_path / "here"


def runs(directory: Path) -> list[tuple[dict, dict]]:
    """(config, summary) of each."""
    found = [RunDirectory(path.parent) for path in directory.glob("runs/*/summary.json")]
    return [(run.config(), run.summary()) for run in found]


def test_search_and_the_last_run_are_within_the_budget(followed):
    cycles = [(config, summary) for config, summary in runs(followed) if config["schedule"]]
    tests = [summary["range_test"] for _, summary in runs(followed) if "range_test" in summary]
    assert len(tests) == 2 + 1 + 2  # weight decays, one to find the rates, one more by bisection, one of a momentum
    epochs = {config["trainer"]["max_epochs"] for config, _ in cycles}
    short, last = sorted(epochs)
    of_seed_zero = sum(summary["steps"] for config, summary in cycles if config["seed"] == 0)
    # A range test that diverges is over sooner.
    assert of_seed_zero + sum(test["steps"] for test in tests) <= 24 * STEPS
    assert of_seed_zero == (2 * short + last) * STEPS
    assert last > 2 * short


def test_the_last_run_has_what_was_found_and_baselines_the_optimizers_own(followed):
    options = pd.read_csv(followed / "options.csv")
    momenta = options[options["option"].str.match(r"0\.9")].set_index("option")
    chosen = momenta["val/loss"].idxmin()
    [last] = {config["optimizer"]["lr"] for config, _ in runs(followed) if config["schedule"] and config["seed"] == 1}
    assert last == momenta.loc[chosen, "max_lr"]
    fixed = [
        config for config, _ in runs(followed) if not config["schedule"] and "range_test" not in config["callbacks"]
    ]
    assert {config["trainer"]["max_epochs"] for config in fixed} == {24, 48}
    assert {config["optimizer"]["weight_decay"] for config in fixed} == {0.0}
    assert 0.01 in {config["optimizer"]["lr"] for config in fixed}
    assert len(fixed) == 2 * 2 * 2  # epochs, rates, seeds


def test_the_report_says_what_the_tables_say(followed):
    report = (followed / "report.md").read_text()
    summary = json.loads((followed / "summary.json").read_text())
    assert summary["text"] == report
    ours, *baselines = summary["results"]
    assert f"Test accuracy {100 * ours['test/accuracy']:.2f} ± {100 * ours['test/accuracy s.e.']:.2f}%" in report
    for baseline in baselines:
        difference = 100 * (ours["test/accuracy"] - baseline["test/accuracy"])
        deviation = 100 * np.hypot(ours["test/accuracy s.e."], baseline["test/accuracy s.e."])
        assert f"- against {baseline['option']}: {difference:+.2f} ± {deviation:.2f} points" in report
    assert report.count("fixed rate") == 2 * 4  # a verdict and a row each
    assert "Clues of the last run, seed 0: " in report
    assert matplotlib.image.imread(followed / "figures" / "recipe.png").std() > 0


def test_a_recipe_that_was_followed_is_shown_again_and_not_repeated(followed, attempt):
    before = {path: path.stat().st_mtime_ns for path in followed.rglob("*") if path.is_file()}
    assert attempt(*QUICK)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in followed.rglob("*") if path.is_file()} == before | {
        path: path.stat().st_mtime_ns for path in [followed / ".lock"]
    }


MISTAKES = [
    ("budget=4", "budget = 4: 5 range tests of 20 steps and 2 runs of 1 epochs take "),
    ("budget=0", "budget = 0: must be a whole number of at least 1"),
    ("budget=12", "budget = 12: 5 range tests of 20 steps and 2 runs of 1 epochs take 12 epochs, which leaves"),
    ("trainer.max_steps=20", "trainer.max_steps = 20: would cut runs short"),
    ("trainer.accumulate_grad_batches=abc", "trainer.accumulate_grad_batches = 'abc': must be a whole number"),
    ("range_tests=none", "range_tests = none: must hold a range_test"),
    ("weight_decays=[1e-3]", "weight_decays = [0.001]: must be at least two weight decays"),
    ("weight_decays=[1e-3,-1]", "weight_decays = -1: must be a number of at least 0"),
    ("momenta=[]", "momenta = []: must be a list of at least one"),
    ("momenta=[0.9]", "momenta = 0.9: must hold lists"),
    ("momenta=[[1.5]]", "momenta = 1.5: must be a fraction"),
    ("schedule=cosine", "schedule.momentum = none: must be there to be chosen"),
    ("times=0", "times = 0: must be a whole number of at least 1"),
    ("baseline_lrs=[0]", "baseline_lrs = 0: must be a number above 0"),
    ("baseline_lrs=[]", "baseline_lrs = []: must be a list of at least one"),
    ("test_share=0", "test_share = 0: must be a number above 0"),
    ("test_share=2", "test_share = 2.0: must be a fraction"),
    ("datamodule.validation=0", "datamodule.validation = 0: a range test needs validation data"),
    ("trainer=ddp_cpu", "trainer.devices = 2: its runs are trained one after the other in one process"),
]


@pytest.mark.parametrize(("typed", "expected"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_one_line(attempt, typed, expected):
    status, output, errors = attempt(*QUICK, *typed.split())
    assert (status, output) == (1, [])  # before anything is trained
    [line] = errors
    assert line.startswith(f"error: {expected}")
    assert "HYDRA_FULL_ERROR" not in line
