"""Searches: what each tries, what it leaves, that it goes on where it was stopped, and what is said of mistakes."""

import json
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import yaml

from scripts.search import main
from scripts.train import main as train
from src.jobs.search import best_option, best_test, in_words
from src.jobs.trials import Option, Trial
from src.runs.directory import RunDirectory
from tests.jobs.conftest import CONF
from tests.jobs.test_wandb import logged, records

SCRIPT = CONF.parent / "scripts" / "search.py"
QUICK = (  # 11 steps an epoch
    "model.depth=2",
    "model.width=16",
    "datamodule.batch_size=128",
    "trainer.max_epochs=2",
    "range_tests.range_test.steps=40",
    "range_tests.range_test.val_points=20",
    "range_tests.range_test.min_lr=1e-3",  # so few steps are to be spent where something is learned
    "seeds=2",
    "logger=csv",
    "hydra.run.dir=here",
)
DECAY = ("search=weight_decay", "search.values=[1e-2,1e-4]", "search.rounds=1", "search.best=2")


@pytest.fixture
def attempt(shell):
    """Call the script as the shell would: its exit status, and its lines on stdout and stderr."""
    return lambda *arguments: shell(SCRIPT, main, *arguments)


def configs(directory: Path) -> list[dict]:
    """Of all runs of a search, and whether each is a range test."""
    found = [yaml.safe_load(path.read_text()) for path in sorted(directory.glob("runs/*/config.yaml"))]
    return [{**config, "test": "range_test" in (config["callbacks"] or {})} for config in found]


def test_weight_decays_are_bisected_and_the_best_are_trained_at_their_own_largest_rates(attempt, tmp_path):
    status, output, errors = attempt(*QUICK, *DECAY)
    assert (status, errors) == (0, [])
    here = tmp_path / "here"
    options = pd.read_csv(here / "options.csv", dtype={"option": str}).set_index("option")
    assert options.index.tolist() == ["0.0001", "0.001", "0.01"]
    runs = configs(here)
    tests = [(run["optimizer"]["weight_decay"], run["seed"]) for run in runs if run["test"]]
    assert sorted(tests) == [(value, seed) for value in (1e-4, 1e-3, 1e-2) for seed in (0, 1)]
    leaders = options["range_test_val_loss"].nsmallest(2).index
    trained = {(run["optimizer"]["weight_decay"], run["optimizer"]["lr"]) for run in runs if not run["test"]}
    assert trained == {(float(option), options.loc[option, "max_lr"]) for option in leaders}
    assert options["epochs"].notna().sum() == 2
    summary = json.loads((here / "summary.json").read_text())
    assert summary["chosen"]["option"] == options["val/loss"].idxmin()
    assert output[-1] == "figure: here/figures/search.png"
    assert matplotlib.image.imread(here / "figures" / "search.png").std() > 0
    assert len(pd.read_parquet(here / "epochs.parquet")) == 2 * 2 * 2
    assert pd.read_parquet(here / "curves.parquet")["option"].nunique() == 3


def test_what_it_says_to_run_next_is_the_run_it_chose(attempt, shell, tmp_path):
    attempt(*QUICK, *DECAY)
    overrides = json.loads((tmp_path / "here" / "summary.json").read_text())["chosen"]["overrides"]
    quiet = ("callbacks=none", "trainer.enable_progress_bar=false", "hydra.run.dir=again")
    assert shell(CONF.parent / "scripts" / "train.py", train, *overrides, *quiet)[0] == 0
    again = RunDirectory(tmp_path / "again")
    runs = [RunDirectory(path.parent) for path in tmp_path.glob("here/runs/*/summary.json")]
    same = [run for run in runs if run.summary()["config_hash"] == again.summary()["config_hash"]]
    assert [run.summary()["metrics"] for run in same] == [again.summary()["metrics"]]


def test_it_goes_on_where_it_was_stopped(attempt, tmp_path, monkeypatch):
    attempt(*QUICK, *DECAY)
    there = {path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("here/runs/*/summary.json")}
    [chosen] = [json.loads((tmp_path / "here" / "summary.json").read_text())["chosen"]]
    killed, *_ = there
    (tmp_path / "here" / "summary.json").unlink()
    shutil.rmtree(tmp_path / "here" / "runs" / killed)
    assert attempt(*QUICK, *DECAY)[0] == 0
    again = {path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("here/runs/*/summary.json")}
    assert {name for name in again if again[name] != there[name]} == {killed}
    assert json.loads((tmp_path / "here" / "summary.json").read_text())["chosen"] == chosen


def test_cyclical_momentum_is_tested_at_that_beside_the_largest_rate(attempt, tmp_path):
    momenta = ("search.constant=[0.5,0.9]", "search.cyclical=[[0.9,0.6]]", "seeds=1")
    status, output, errors = attempt(*QUICK, "search=momentum", *momenta)
    assert (status, errors) == (0, [])
    runs = configs(tmp_path / "here")
    assert sorted(run["optimizer"]["momentum"] for run in runs if run["test"]) == [0.5, 0.6, 0.9]
    trained = {(run["optimizer"]["momentum"], str(run["schedule"]["momentum"])) for run in runs if not run["test"]}
    assert trained == {(0.5, "None"), (0.9, "None"), (0.6, "[0.9, 0.6]")}
    assert any(line.startswith("cyclical momentum 0.9–0.6: validation loss") for line in output)


def test_momentum_of_adam_is_beta1(attempt, tmp_path):
    momenta = ("search.constant=[0.8]", "search.cyclical=[[0.9,0.7]]", "seeds=1", "optimizer=adam")
    assert attempt(*QUICK, "search=momentum", *momenta)[0] == 0
    assert sorted(run["optimizer"]["betas"] for run in configs(tmp_path / "here") if run["test"]) == [
        [0.7, 0.999],
        [0.8, 0.999],
    ]


def test_batch_sizes_have_equal_training_time(attempt, tmp_path):
    sizes = ("search.values=[32,256]", "search.seconds=2", "seeds=1")
    status, _, errors = attempt(*QUICK, "search=batch_size", *sizes)
    assert (status, errors) == (0, [])
    options = pd.read_csv(tmp_path / "here" / "options.csv")
    assert options["option"].tolist() == [32, 256]
    assert options["epochs"][0] < options["epochs"][1]  # a smaller batch makes an epoch longer
    epochs = pd.read_parquet(tmp_path / "here" / "epochs.parquet")
    last = epochs.groupby("option")["seconds"].max()
    assert last.to_dict() == pytest.approx(dict(zip(["32", "256"], options["seconds"], strict=True)))


def test_wandb_gets_the_figure_and_the_table(attempt, tmp_path):
    assert attempt(*QUICK[:-2], *DECAY, "seeds=1", "hydra.run.dir=here")[0] == 0
    found = records(tmp_path / "here")
    assert "search" in {record.run.display_name for record in found if record.WhichOneof("record_type") == "run"}
    mirrored = logged(found)
    assert (mirrored["search._type"], mirrored["options._type"]) == ("image-file", "table-file")
    notes = [record.run.notes for record in found if record.WhichOneof("record_type") == "run"]
    text = json.loads((tmp_path / "here" / "summary.json").read_text())["text"]
    assert any(text[0] in note for note in notes)


MISTAKES = [
    ("search.values=[1e-3]", "search.values = [0.001]: must be at least two weight decays"),
    ("search.values=[1e-3,-1e-4]", "search.values = -0.0001: must be a number of at least 0"),
    ("search.rounds=-1", "search.rounds = -1: must be a whole number of at least 0"),
    ("search.best=0", "search.best = 0: must be a whole number of at least 1"),
    ("seeds=0", "seeds = 0: must be a whole number of at least 1"),
    ("datamodule.validation=0", "datamodule.validation = 0: a range test needs validation data"),
    ("search=batch_size datamodule.validation=0", "datamodule.validation = 0: a range test needs validation data"),
    ("trainer=ddp_cpu", "trainer.devices = 2: its runs are trained one after the other in one process"),
    ("search.values=abc", "search.values = 'abc': must be a list of at least one"),
    ("range_tests=none", "range_tests = none: must hold a range_test"),
    ("search=momentum search.constant=[]", "search.constant = []: must be a list of at least one"),
    ("search=momentum search.constant=[1.0]", "search.constant = 1.0: must be a fraction"),
    ("search=momentum search.cyclical=[0.9]", "search.cyclical = 0.9: must hold lists, [at the lowest rate, at"),
    ("search=momentum search.cyclical=[[0.9,0.8,0.7]]", "search.cyclical = [0.9, 0.8, 0.7]: must hold lists"),
    ("search=momentum search.cyclical=[[0.8,0.9]]", "search.cyclical = [0.8, 0.9]: must be no lower at the lowest"),
    ("search=momentum schedule=cosine", "schedule.momentum = none: must be there to be chosen"),
    ("search=batch_size search.values=[]", "search.values = []: must be a list of at least one"),
    ("search=batch_size search.seconds=0", "search.seconds = 0: must be a number above 0"),
    ("search=batch_size search.seconds=1e-3", "search.seconds = 0.001: less than 3 epochs of batch size 32, of "),
    ("depth=3", "depth = 3: is that of a family"),
    ("search=nothing", "search = nothing: no such option; there are batch_size, momentum, weight_decay"),
    ("range_tests.range_test.min_lr=100", "callbacks.range_test.min_lr = 100: "),
]


@pytest.mark.parametrize(("typed", "expected"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_one_line(attempt, tmp_path, typed, expected):
    status, _, errors = attempt(*QUICK, *typed.split())
    assert status == 1
    [line] = errors
    assert line.startswith(f"error: {expected}")
    assert "HYDRA_FULL_ERROR" not in line
    trained = any(RunDirectory(path).finished for path in (tmp_path / "here").glob("runs/*"))
    if not trained:  # its directory is free for another
        assert attempt(*QUICK, *DECAY, "seeds=1", "trainer.max_epochs=1")[0] == 0


def option(name: str, losses: list[float], *, max_lr: float = 0.1, lowest: float = 1.0) -> Option:
    """One whose runs ended with these validation losses, and whose range tests found these."""
    found = {"status": "completed", "range_test": {"max_lr": max_lr, "best_val_loss": lowest}}
    run = RunDirectory("nowhere")
    runs = [Trial(run, {"status": "completed", "metrics": {"val/loss": loss}}) for loss in losses]
    return Option(name, {}, tests=[Trial(run, found)], runs=runs)


def test_a_run_that_diverged_is_worse_than_any_that_did_not():
    good, bad = option("good", [2.0, 2.1]), option("bad", [0.1, 0.1])
    bad.runs[1] = Trial(bad.runs[1].run, {"status": "diverged", "metrics": {"val/loss": 0.1}})
    assert best_option([bad, good]) is good
    text = in_words("momentum", good, [good, bad])
    assert text == "momentum good: validation loss 2.05 ± 0.05, against inf ± inf of bad, which diverged."


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ([1.0, 1.02, 0.98], "of other: told apart (18.4 standard errors, 3 seeds)."),
        ([1.0, 1.4, 0.6], "of other: not told apart (0.9 standard errors, 3 seeds)."),
        ([1.0], "against 1.3 of other, a seed each."),
    ],
)
def test_a_difference_is_called_one_where_seeds_show_it(losses, verdict):
    one, other = option("one", losses), option("other", [loss + 0.3 for loss in losses])
    for of, text in ((one, verdict), (other, verdict.replace("1.3 of other", "1 of one").replace("other", "one"))):
        assert in_words("momentum", of, [one, other]).endswith(text)


def test_of_range_tests_as_low_that_of_the_largest_rate_is_the_best():
    options = [
        option("a", [], max_lr=0.3, lowest=1.1),
        option("b", [], lowest=1.0),
        option("c", [], max_lr=0.2, lowest=1.01),
    ]
    assert best_test(options).name == "c"
    assert best_test(options[:2]).name == "b"
    assert np.isinf(option("d", [np.inf]).final("val/loss")[0])
