"""The command reproduce: what it lists, runs, checks and refuses, and its exit statuses."""

import json
import re

import pandas as pd
import pytest

from start_training.analysis.expectations import EXPECTATIONS, Expectation
from start_training.analysis.expectations.quantity import Quantity
from start_training.cli.reproduce_command import composed
from start_training.config.composed import without_hydra
from start_training.config.experiments import experiment_named, experiments
from start_training.studies.reproduction import check_of

ONE = ("hanin_rolnick/figure_2b", "depth=2", "family=residual_constant", "trainer.max_epochs=1", "logger=csv",
       "trainer.enable_progress_bar=false")  # fmt: skip

STATED = EXPECTATIONS[ONE[0]]


@pytest.fixture
def expected(monkeypatch):
    """A function that replaces the expectations of an experiment; returns the tables that were checked."""

    def replace(name: str, *quantities: Quantity) -> list[pd.DataFrame]:
        checked: list[pd.DataFrame] = []

        def check(table: pd.DataFrame) -> list[Quantity]:
            checked.append(table)
            return list(quantities)

        monkeypatch.setitem(EXPECTATIONS, name, Expectation(check, check))
        return checked

    return replace


def test_every_experiment_is_listed_with_minutes_and_claim_in_80_columns(shell):
    status, output, errors = shell("reproduce")
    assert (status, errors) == (0, []) and max(map(len, output)) <= 80
    assert experiments().keys() == EXPECTATIONS.keys() and len(EXPECTATIONS) == 16
    text = "\n".join(output)
    for name, experiment in experiments().items():
        assert f"{name} " in text and 0 < experiment.minutes < 60 and experiment.claim[:20] in text
    assert "…" not in text


@pytest.mark.slow
def test_reproduce_runs_the_experiment_and_checks_the_runs_of_its_command(shell, tmp_path, monkeypatch, expected):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))  # without MNIST: digits
    words = (*ONE, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    checked = expected(ONE[0], Quantity("length", 1.0, 0, 2))
    status, output, _ = shell("reproduce", "figure_2b", *words[1:], "--seeds", "2")
    assert status == 0 and output[-1] == f"the expectation of {ONE[0]} holds"
    assert any(re.fullmatch(r"│ length +│ +1 │ +0 to 2 │ ✓ │", line) for line in output)
    assert checked[0]["seed"].tolist() == [0, 1] and checked[0]["observed_epoch"].notna().all()
    written = json.loads((tmp_path / "sweep" / "expectation.json").read_text())
    assert written["expectation"] == "holds" and written["quantities"][0]["holds"] is True

    # That a sweep continues is tested elsewhere.
    monkeypatch.setattr("start_training.cli.reproduce_command.run_command", lambda name, words: 0)
    checked = expected(
        ONE[0], Quantity("length", 3.0, 0, 2), Quantity("width", 1.0), Quantity("depth", float("nan"), 1)
    )
    status, output, _ = shell("reproduce", "--seeds=1", *words)  # the other seed's run is not of this command
    assert status == 3 and output[-1] == f"the expectation of {ONE[0]} does not hold"
    assert output[-3:-1] == ["length is 3; expected 0 to 2", "depth is not measured by these runs; expected at least 1"]
    assert checked[0]["seed"].tolist() == [0]

    expected(ONE[0], Quantity("depth", float("nan"), 1))
    status, output, _ = shell("reproduce", *words, "seed=0,1")
    assert status == 4 and output[-1].startswith(f"the expectation of {ONE[0]} cannot be judged: the runs do not")

    monkeypatch.setitem(EXPECTATIONS, ONE[0], STATED)  # which needs more configurations
    status, output, _ = shell("reproduce", *words, "--seeds", "2")
    assert status == 4 and output[-1].startswith(f"the expectation of {ONE[0]} cannot be judged by these runs: no rank")


def test_simulations_are_checked_from_the_table_of_their_figure(shell, tmp_path, expected):
    checked = expected("hanin_rolnick/figure_1a", Quantity("length", 1.0))
    words = ("nets=2", "depth=2,3", "initializer=he_normal", "progress=false", "logger=none", "model.width=4")
    status, output, _ = shell("reproduce", "hanin_rolnick/figure_1a", *words)
    assert status == 0 and output[-1].endswith("holds")
    assert sorted(checked[0]["depth"].unique()) == [2, 3] and "log_mean" in checked[0]


@pytest.mark.parametrize(("words", "message"), [
    (["figure_9"], "EXPERIMENT = 'figure_9': must be one of hanin_rolnick/failure_mode_2, "),
    (["figure_1a", "--seeds", "3"], "--seeds = 3: hanin_rolnick/figure_1a samples nets instead; type nets=… for their"),
    (["figure_2b", "--seeds", "0"], "--seeds = 0: must be a whole number of at least 1"),
    (["figure_2b", "size=full"], "size = full: the expectation is stated for size=small; must be left out"),
    (["zhang/slope"], "DATA_DIR: lacks the data set of zhang/slope, and nothing is stated about digits"),
    (["slope", "optimizer=nosuch"], "optimizer = nosuch: no such option"),
])  # fmt: skip
def test_what_cannot_be_checked_is_refused_before_anything_runs(words, message, shell, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    status, output, errors = shell("reproduce", *words)
    assert (status, output) == (1, []) and len(errors) == 1
    assert errors[0].startswith(f"error: {message}") and not list(tmp_path.iterdir())


def test_each_table_has_the_kind_that_the_experiment_records():
    for name, experiment in experiments().items():
        assert experiment_named(name) == experiment
        assert set(experiment.record) == {"Claim", "Source", "Command", "Takes", "Expected"}
        assert experiment.words[0] == f"experiment={name}"


def test_cifar10s_images_are_no_digits(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    experiment = experiment_named("cifar10_weight_decay")
    with pytest.raises(ValueError, match=r"^DATA_DIR: lacks the data set of smith/cifar10_weight_decay"):
        check_of(experiment, without_hydra(composed("range_test", experiment.words)))
    own = without_hydra(composed("range_test", [*experiment.words, "datamodule=image_folder"]))
    assert check_of(experiment, own) is EXPECTATIONS[experiment.name].check
