"""The weight_decay command: its measurement and training, its output files, resuming it, and premises that fail."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir
from scipy import stats

from start_training.config.composed import plain
from start_training.order_chaos.slope import fit_slope
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.studies.guideline.guideline import next_run
from start_training.studies.guideline.guideline_report import _faster_runs
from start_training.studies.trials import RUN_KEYS
from tests.composing import QUICK, start
from tests.small_runs import CONF
from tests.wandb_records import logged, records

TRAINED = ("train=true", "epochs=4", "factors=[0,1]", "speed=null")


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


def configs(directory: Path) -> dict[str, dict]:
    """The configs of all runs of a study, by the names of their directories."""
    files = sorted(directory.glob("runs/*/config.yaml"))
    return {path.parent.name: yaml.safe_load(path.read_text()) for path in files}


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """The directory of a guideline measured with two seeds, with the speeds 2 and 3."""
    return start("weight_decay", tmp_path_factory.mktemp("measured") / "here", "seeds=2", "speed=[2,3]")


@pytest.fixture
def measure(measured, tmp_path):
    """Carry out the guideline with other settings, reusing those runs of `measured` that have the same config."""

    def call(*typed: str) -> Path:
        shutil.copytree(measured / "runs", tmp_path / "here" / "runs")
        return start("weight_decay", tmp_path / "here", *typed)

    return call


@pytest.fixture(scope="module")
def followed(measured, tmp_path_factory) -> Path:
    """The directory of a guideline with train=true."""
    here = tmp_path_factory.mktemp("followed") / "here"
    shutil.copytree(measured / "runs", here / "runs")
    return start("weight_decay", here, *TRAINED)


def test_the_slope_is_measured_and_the_weight_decay_computed(measured):
    runs = configs(measured)
    assert [(run["optimizer"]["weight_decay"], run["trainer"]["max_epochs"]) for run in runs.values()] == [(0, 8)] * 2
    slopes = []
    for name in runs:
        phases = RunDirectory(measured / "runs" / name).table("phase").read()
        assert phases["name"].unique().tolist() == ["hidden.linear"]
        slopes.append(fit_slope(phases["epoch"], phases["J2"], window=(5, 8)).A)
    results = summary(measured)
    assert results["A"] == pytest.approx(np.mean(slopes))
    assert results["seeds"] == pytest.approx(stats.sem(slopes))
    assert results["lambda"] == pytest.approx(np.mean(slopes) * (1 - 0.9) * 128 / (4 * 0.04 * 1437))
    assert results["weight_decay"] == pytest.approx(2 * results["lambda"], rel=1e-2)
    assert results["weight_decay_error"] == pytest.approx(2 * results["lambda"] * results["error"] / results["A"])
    assert (measured / "report.md").read_text() == results["text"]


def test_the_report_lists_faster_settings_with_the_epochs_to_the_edge(measured):
    results = summary(measured)
    rows = [line.split(" | ") for line in results["text"].splitlines() if line.startswith("| ×")]
    assert [(row[0], row[1], row[2]) for row in rows] == [("| × 2", "0.08", "64"), ("| × 3", "0.12", "—")]
    for row, speed in zip(rows, (2, 3), strict=True):
        assert float(row[3].split()[0]) == pytest.approx(results["epochs_to_edge"] / speed, rel=0.01)
    assert results["epochs_to_edge"] == pytest.approx((1 - results["C"]) / results["A"], rel=1e-4)


def test_training_with_the_computed_weight_decay_is_compared_with_others(followed):
    results, runs = summary(followed), configs(followed)
    decays = {run["optimizer"]["weight_decay"] for run in runs.values() if run["trainer"]["max_epochs"] == 4}
    options = pd.read_csv(followed / "options.csv").set_index("option")
    assert set(options["weight_decay"]) == decays >= {0.0, results["weight_decay"]}
    [name] = [name for name, run in runs.items() if run["optimizer"]["weight_decay"] == results["weight_decay"]]
    run = RunDirectory(followed / "runs" / name)
    phases = run.table("phase").read()
    assert options.loc["λ*", "J"] == pytest.approx(np.sqrt(phases["J2"].iloc[1:].mean()))  # 3 epochs at least
    drift = fit_slope(phases["epoch"], phases["J2"], window=(1, 4)).A
    growth = drift + results["A"] * phases["J2"].iloc[1:].mean()
    assert results["growth_under_decay"] == pytest.approx(growth, rel=0.01)
    [corrected] = [option for option in options.index if option.endswith("corrected")]
    expected = results["weight_decay"] * growth / results["A"]
    assert options.loc[corrected, "weight_decay"] == pytest.approx(expected, rel=0.01)
    assert options.loc["λ*", "test/loss"] == pytest.approx(run.summary()["metrics"]["test/loss"])
    assert options.loc["λ*", "lowest loss"] == pytest.approx(run.summary()["lowest_test_loss"]["loss"])
    assert len(pd.read_parquet(followed / "epochs.parquet")) == 5 * len(options)
    assert matplotlib.image.imread(followed / "figures" / "weight_decay.png").std() > 0


def test_the_suggested_command_repeats_a_run_of_the_guideline(followed):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        again = plain(compose("train", [*summary(followed)["overrides_of_next_run"], "trainer.max_epochs=4"]))
    again["trainer"]["enable_progress_bar"] = False
    trained = [run for run in configs(followed).values() if run["trainer"]["max_epochs"] == 4]
    assert any(all(again[key] == run[key] for key in RUN_KEYS if key in run) for run in trained)


def test_a_finished_guideline_is_reported_again_and_an_interrupted_one_repeats_no_run(followed, shell, tmp_path):
    here = tmp_path / "here"
    shutil.copytree(followed, here)
    times = {path: path.stat().st_mtime_ns for path in here.glob("runs/*/summary.json")}
    status, output, errors = shell("weight_decay", *QUICK["weight_decay"], *TRAINED, "hydra.run.dir=here")
    assert (status, errors, output[-1]) == (0, [], "figure: here/figures/weight_decay.png")
    before = summary(here)
    killed, *_ = times
    (here / "summary.json").unlink()
    shutil.rmtree(killed.parent)
    start("weight_decay", here, *TRAINED, "logger=wandb")
    again = {path: path.stat().st_mtime_ns for path in here.glob("runs/*/summary.json")}
    assert {path for path in again if again[path] != times.get(path)} <= {killed}
    texts = (
        content["text"].replace("uv run python scripts/train.py", "start-training train")
        for content in (summary(here), before)
    )  # the name of the command depends on how pytest was started
    assert next(texts).replace(" logger=wandb", "") == next(texts)
    mirrored = logged(records(here))
    assert (mirrored["weight_decay._type"], mirrored["options._type"]) == ("image-file", "table-file")


def test_runs_that_diverge_are_part_of_the_results(measure):
    results = summary(measure("train=true", "epochs=3", "factors=[1e6]", "speed=null", "correct=false"))
    assert [(row["option"], row["diverged"]) for row in results["training"]] == [("λ*", 0), ("1e+06 λ*", 1)]
    assert "(1 diverged)" in results["text"] and "With λ*, J ended at" in results["text"]


@pytest.mark.slow  # 10 seconds
def test_faster_runs_reach_the_edge_in_the_predicted_epoch(tmp_path):
    small_steps = ("optimizer.lr=0.02", "datamodule.batch_size=64", "measure=20", "window=null")
    settings = ("train=true", "epochs=3", "factors=[1]", "speed=[2]", "correct=false")
    here = start("weight_decay", tmp_path, *small_steps, *settings)
    results = summary(here)
    assert [(row["option"], row["speed"]) for row in results["faster"]] == [("2 eta", 2), ("B / 2", 2)]
    [edge] = results["measured_epochs_to_edge"]
    assert edge == pytest.approx(results["epochs_to_edge"], rel=0.1)
    for row in results["faster"]:
        assert row["edge epoch"] == pytest.approx(edge / 2, rel=0.25)  # the law holds in the limit of small steps
        assert f"epoch {row['edge epoch']:.4g} (predicted: {results['epochs_to_edge'] / 2:.3g})" in results["text"]


UNTRAINED = [
    ("optimizer.weight_decay=1e-4", "optimizer.weight_decay = 0.0001: must be 0, because the guideline is computed"),
    (
        "+optimizer.dampening=0.5 optimizer.nesterov=false",
        "optimizer.dampening = 0.5: must be 0, because the formula assumes",
    ),
    (
        "schedule=one_cycle",
        "schedule = start_training.schedules.one_cycle.OneCycle: the learning rate must be constant",
    ),
    ("initializer.J=1.5", "J = 1.49 of hidden.linear at initialization: must be below 1"),
    ("initializer.J0=3", "J0 = 2.96 of hidden.linear at initialization: its absolute value must be below J = "),
    ("model.activation=relu", "activation of hidden.linear = ReLU: must have its edge of chaos at J = 1"),
    ("model=convolutional model.depth=2 model.channels=4", "model: must have a square dense layer before the readout"),
]


@pytest.mark.parametrize(("typed", "expected"), UNTRAINED, ids=[typed for typed, _ in UNTRAINED])
def test_a_premise_that_fails_for_the_config_is_reported_before_training(tmp_path, typed, expected):
    here = start("weight_decay", tmp_path, *typed.split())
    assert not summary(here)["applies"]
    assert summary(here)["reason"].startswith(expected)
    assert not (here / "runs").exists()


def test_a_premise_that_fails_gives_exit_status_3_also_when_repeated(shell, tmp_path):
    typed = (*QUICK["weight_decay"], "optimizer=adam", "hydra.run.dir=here")
    status, [line], errors = shell("weight_decay", *typed)
    assert (status, errors) == (3, [])
    assert line.startswith("the guideline does not apply: optimizer = torch.optim.Adam: must be torch.optim.SGD, which")
    assert shell("weight_decay", *typed) == (3, [line], [])


MEASURED = [
    ("optimizer.lr=0.4 window=null", "seed 0: J² = fan_in · Var W reaches 1 in epoch ", "lower eta / ((1 − alpha) B)"),
    ("optimizer.lr=1e38", "seed 0: the run without weight decay diverged", ""),
    (
        "window=[4,8] optimizer.lr=0.1",
        "seed 0: J² = fan_in · Var W reaches 1 in epoch ",
        "within the window of the fit",
    ),
    ("window=[0,8]", "A = ", "must grow linearly, but its slope changes by -"),
    ("window=null measure=10", "A = ", "where the fitted line reaches 1, its slope changes by -"),
    (
        "optimizer.lr=1e-6 optimizer.momentum=0 window=[0,3]",
        "A = ",
        "must be above 0 with every seed and by more than two standard errors",
    ),
]


@pytest.mark.parametrize(("typed", "expected", "also"), MEASURED, ids=[typed for typed, *_ in MEASURED])
def test_a_premise_that_fails_for_the_short_runs_is_reported(measure, typed, expected, also):
    results = summary(measure(*typed.split()))
    assert not results["applies"]
    assert results["reason"].startswith(expected)
    assert also in results["reason"]


@pytest.mark.slow  # 100 seconds: two runs of 280 epochs
def test_digits_settle_near_the_edge_with_lambda_star_but_not_with_five_times_as_much(shell, tmp_path):
    typed = ("logger=csv", "hydra.run.dir=here", "seeds=1", "train=true", "factors=[1,5]", "correct=false")
    assert shell("weight_decay", *typed)[0] == 0
    at_edge, five = summary(tmp_path / "here")["training"]
    assert abs(at_edge["J"] - 1) < 0.1 and not at_edge["moving"]
    assert five["J"] < 0.8


def test_the_suggested_command_keeps_the_overrides_of_a_run_but_not_those_of_the_guideline():
    measured = SimpleNamespace(weight_decay=1.2345e-3, slope=SimpleNamespace(A=0.1))
    words = next_run(
        Job({}, Path("here"), ("optimizer.lr=0.1", "measure=8", "+model.x=1", "initializer=he_normal")), measured
    )
    assert {"optimizer.lr=0.1", "+model.x=1", "initializer=he_normal", "model=tanh_layer"} < {*words}
    assert not {"measure=8", "initializer=phase"} & {*words} and words[-1] == "trainer.max_epochs=30"


@pytest.mark.parametrize(
    "edge, expected", [(12.0, "reached the edge in epoch 12 ("), (np.nan, "reached the edge but not in every run (")]
)
def test_the_report_states_when_faster_runs_reached_the_edge_if_all_did(edge, expected):
    row = {f"{name}{error}": 1.0 for name in ("lowest loss", "lowest epoch", "lowest J") for error in ("", " s.e.")}
    row |= {"edge epoch": edge, "edge epoch s.e.": np.nan}
    faster = SimpleNamespace(row=lambda: row, name="2 times the speed", curves=[SimpleNamespace(rows=range(21))])
    [text] = _faster_runs(SimpleNamespace(runs=[], faster=[(2.0, faster)]), 20.0)
    assert expected in text and "(predicted: 10)" in text
