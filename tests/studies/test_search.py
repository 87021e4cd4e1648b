"""The search command: the runs of each search, its output files, resuming it, and the sentences about its choice."""

import json
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir
from scipy import stats

from start_training.config.composed import plain
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.studies.momentum_search import momentum_option
from start_training.studies.search import balance, best_option, comparison
from start_training.studies.trials import Option, Trial
from start_training.training.train import train
from tests.composing import QUICK, composed_of, start
from tests.small_runs import CONF
from tests.wandb_records import logged, records

DECAY = ("search=weight_decay", "search.values=[1e-2,1e-4]", "search.rounds=1", "search.best=2")


@pytest.fixture(scope="module")
def decays(tmp_path_factory) -> Path:
    """The directory of a search for a weight decay."""
    return start("search", tmp_path_factory.mktemp("search") / "here", *DECAY)


def configs(directory: Path) -> list[dict]:
    """The configs of all runs of a search, with a key `test` that says whether the run is a range test."""
    runs = [yaml.safe_load(path.read_text()) for path in sorted(directory.glob("runs/*/config.yaml"))]
    return [{**config, "test": "range_test" in (config["callbacks"] or {})} for config in runs]


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


def test_weight_decays_are_bisected_and_the_best_are_trained_at_their_own_largest_rates(decays):
    options = pd.read_csv(decays / "options.csv", dtype={"option": str}).set_index("option")
    assert options.index.tolist() == ["0.0001", "0.001", "0.01"]
    runs = configs(decays)
    tests = [(run["optimizer"]["weight_decay"], run["seed"]) for run in runs if run["test"]]
    assert sorted(tests) == [(value, seed) for value in (1e-4, 1e-3, 1e-2) for seed in (0, 1)]
    leaders = options["range_test_val_loss"].nsmallest(2).index
    trained = {(run["optimizer"]["weight_decay"], run["optimizer"]["lr"]) for run in runs if not run["test"]}
    assert trained == {(float(option), options.loc[option, "max_lr"]) for option in leaders}
    losses = [RunDirectory(path.parent).summary() for path in decays.glob("runs/*/summary.json")]
    for option in leaders:
        ended = [run["metrics"]["val/loss"] for run in losses if f"optimizer.weight_decay={float(option)}"
                 in run["overrides"] and run["metrics"]]  # fmt: skip
        assert options.loc[option, "val/loss"] == pytest.approx(np.mean(ended))
        assert options.loc[option, "val/loss s.e."] == pytest.approx(stats.sem(ended))
    assert summary(decays)["chosen"]["option"] == options["val/loss"].idxmin()
    assert matplotlib.image.imread(decays / "figures" / "search.png").std() > 0
    assert pd.read_parquet(decays / "curves.parquet")["option"].nunique() == 3


def test_the_suggested_command_repeats_the_chosen_run(decays, tmp_path):
    overrides = [*summary(decays)["chosen"]["overrides"], "callbacks=none", "trainer.enable_progress_bar=false"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        again = train(Job(plain(compose("train", overrides)), tmp_path))
    runs = [RunDirectory(path.parent).summary() for path in decays.glob("runs/*/summary.json")]
    same = [run["metrics"] for run in runs if run["config_hash"] == again["config_hash"]]
    assert same == [again["metrics"]]


def test_a_finished_search_is_reported_again_and_an_interrupted_one_repeats_no_run(decays, shell, tmp_path):
    here = tmp_path / "here"
    shutil.copytree(decays, here)
    before = {path: path.stat().st_mtime_ns for path in here.glob("runs/*/summary.json")}
    status, output, errors = shell("search", *QUICK["search"], *DECAY, "hydra.run.dir=here")
    assert (status, errors, output[-1]) == (0, [], "figure: here/figures/search.png")
    finished = summary(here)
    killed, *_ = before
    (here / "summary.json").unlink()
    shutil.rmtree(killed.parent)
    start("search", here, *DECAY, "logger=wandb")
    again = {path: path.stat().st_mtime_ns for path in here.glob("runs/*/summary.json")}
    assert {path for path in again if again[path] != before[path]} == {killed}
    assert summary(here)["chosen"]["option"] == finished["chosen"]["option"]
    mirrored = logged(records(here))
    assert (mirrored["search._type"], mirrored["options._type"]) == ("image-file", "table-file")


def test_range_tests_of_cyclical_momentum_use_the_momentum_at_the_largest_rate(tmp_path):
    momenta = ("search.constant=[0.5]", "search.cyclical=[[0.9,0.6]]", "seeds=1")
    start("search", tmp_path, "search=momentum", *momenta)
    runs = configs(tmp_path)
    assert sorted(run["optimizer"]["momentum"] for run in runs if run["test"]) == [0.5, 0.6]
    trained = {(run["optimizer"]["momentum"], str(run["schedule"]["momentum"])) for run in runs if not run["test"]}
    assert trained == {(0.5, "None"), (0.6, "[0.9, 0.6]")}


def test_momentum_of_adam_is_beta1():
    config = plain(composed_of("search", "search=momentum", "optimizer=adam"))
    pair = momentum_option("cyclical", [0.9, 0.7], config)
    assert (pair.name, pair.changes) == ("0.9–0.7", {"optimizer.betas": [0.7, 0.999]})
    assert momentum_option("constant", [0.8], config).run_changes == {"schedule.momentum": None}


def test_batch_sizes_have_equal_training_time(tmp_path, monkeypatch):
    # The clock advances 0.01 s per step. 1293 samples take 41 steps in batches of 32, and 6 steps in batches of 256.
    def stop(self, trainer, pl_module):
        self._before, self._since = trainer.global_step / 100, None

    monkeypatch.setattr("start_training.callbacks.training_time.TrainingTime.on_train_end", stop)
    start("search", tmp_path, "search=batch_size", "search.values=[32,256]", "search.seconds=1.3", "seeds=1")
    options = pd.read_csv(tmp_path / "options.csv").set_index("option")
    assert options["epochs"].to_dict() == {32: 3, 256: 22}
    assert options["seconds"].to_dict() == pytest.approx({32: 1.23, 256: 1.32})
    with pytest.raises(
        ValueError, match=r"^search.seconds = 1.2: must be at least 1.23, the duration of 3 epochs with batch size 32"
    ):
        start("search", tmp_path / "short", "search=batch_size", "search.values=[32]", "search.seconds=1.2")


def option(name: str, losses: list[float], *, max_lr: float = 0.1, lowest: float = 1.0) -> Option:
    """An option with these final validation losses of its runs, and this result of its range test."""
    summary = {"status": "completed", "range_test": {"max_lr": max_lr, "rule": "", "best_val_loss": lowest}}
    run = RunDirectory("nowhere")
    runs = [Trial(run, {"status": "completed", "metrics": {"val/loss": loss}}) for loss in losses]
    return Option(name, {}, tests=[Trial(run, summary)], runs=runs)


def test_a_run_that_diverged_is_worse_than_any_that_did_not():
    good, bad = option("good", [2.0, 2.1]), option("bad", [0.1, 0.1])
    bad.runs[1] = Trial(bad.runs[1].run, {"status": "diverged", "metrics": {"val/loss": 0.1}})
    assert best_option([bad, good]) is good
    assert comparison("momentum", good, [good, bad]).endswith("against inf ± inf with bad, which diverged.")
    assert np.isinf(option("d", [np.inf]).final("val/loss")[0])


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("share", [0.97, 1.03])
def test_a_difference_is_called_significant_if_a_t_test_at_five_percent_says_so(seeds, share):
    """The options have equal spreads and numbers of seeds n, so that the t test has 2 (n − 1) degrees of freedom."""
    spread = np.linspace(-0.1, 0.1, seeds)
    error = np.hypot(stats.sem(spread), stats.sem(spread))
    gap = share * error * stats.t.ppf(0.975, 2 * (seeds - 1))
    one, other = option("one", list(1 + spread)), option("other", list(1 + gap + spread))
    significant = stats.ttest_ind(1 + spread, 1 + gap + spread).pvalue < 0.05
    assert significant == (share > 1)
    verdict = f"{'is' if significant else 'is not'} significant ({gap / error:.1f} standard errors, {seeds} seeds)."
    assert comparison("momentum", one, [one, other]).endswith(verdict)
    assert comparison("momentum", other, [one, other]).endswith(verdict)


def test_with_one_seed_no_significance_is_stated_and_a_single_option_is_not_compared():
    one, other = option("one", [1.0]), option("other", [1.3])
    assert comparison("momentum", one, [one, other]).endswith("1, against 1.3 with other (one seed each).")
    assert comparison("momentum", one, [one, option("tested only", [])]) == "momentum one: validation loss 1."


def test_a_sentence_is_given_for_each_form_of_regularization_that_an_option_raises():
    config = plain(composed_of("search"))  # rate 0.01, no decay, batches of 128
    for changes, rate, raised in (
        ({}, 0.01, 0),
        ({}, 0.011, 1),
        ({"optimizer.weight_decay": 1e-4}, 0.01, 1),
        ({"datamodule.batch_size": 127}, 0.01, 1),
        ({"datamodule.batch_size": 129, "optimizer.weight_decay": 0.0}, 0.01, 0),
    ):
        sentences = balance(Option("", changes, tests=option("", [], max_lr=rate).tests), config)
        assert len(sentences) == raised
        assert all(sentence.startswith("Raised: ") for sentence in sentences)
