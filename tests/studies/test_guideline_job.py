"""scripts/weight_decay.py: what it measures, trains and leaves, that it goes on, and where it gives no number."""

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
from start_training.studies.trials import OF_A_RUN
from tests.composing import QUICK, start
from tests.small_runs import CONF
from tests.wandb_records import logged, records

TRAINED = ("train=true", "epochs=4", "factors=[0,1]", "speed=null")


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


def configs(directory: Path) -> dict[str, dict]:
    """Of all its runs, by directory."""
    found = sorted(directory.glob("runs/*/config.yaml"))
    return {path.parent.name: yaml.safe_load(path.read_text()) for path in found}


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A slope measured with two seeds, and where two and three times the speed would be."""
    return start("weight_decay", tmp_path_factory.mktemp("measured") / "here", "seeds=2", "speed=[2,3]")


@pytest.fixture
def measure(measured, tmp_path):
    """Measure with other settings; runs that are those of `measured` are not made again."""

    def call(*typed: str) -> Path:
        shutil.copytree(measured / "runs", tmp_path / "here" / "runs")
        return start("weight_decay", tmp_path / "here", *typed)

    return call


@pytest.fixture(scope="module")
def followed(measured, tmp_path_factory) -> Path:
    """Trained with what was found."""
    here = tmp_path_factory.mktemp("followed") / "here"
    shutil.copytree(measured / "runs", here / "runs")
    return start("weight_decay", here, *TRAINED)


def test_it_measures_the_slope_and_says_the_weight_decay(measured):
    runs = configs(measured)
    assert [(run["optimizer"]["weight_decay"], run["trainer"]["max_epochs"]) for run in runs.values()] == [(0, 8)] * 2
    slopes = []
    for name in runs:
        phases = RunDirectory(measured / "runs" / name).table("phase").read()
        assert phases["name"].unique().tolist() == ["hidden.linear"]
        slopes.append(fit_slope(phases["epoch"], phases["J2"], window=(5, 8)).A)
    found = summary(measured)
    assert found["A"] == pytest.approx(np.mean(slopes))
    assert found["seeds"] == pytest.approx(stats.sem(slopes))
    assert found["lambda"] == pytest.approx(np.mean(slopes) * (1 - 0.9) * 128 / (4 * 0.04 * 1437))
    assert found["weight_decay"] == pytest.approx(2 * found["lambda"], rel=1e-2)
    assert found["weight_decay_error"] == pytest.approx(2 * found["lambda"] * found["error"] / found["A"])
    assert (measured / "report.md").read_text() == found["text"]


def test_faster_settings_reach_the_same_edge_in_fewer_epochs(measured):
    found = summary(measured)
    rows = [line.split(" | ") for line in found["text"].splitlines() if line.startswith("| ×")]
    assert [(row[0], row[1], row[2]) for row in rows] == [("| × 2", "0.08", "64"), ("| × 3", "0.12", "—")]
    for row, speed in zip(rows, (2, 3), strict=True):
        assert float(row[3].split()[0]) == pytest.approx(found["epochs_to_edge"] / speed, rel=0.01)
    assert found["epochs_to_edge"] == pytest.approx((1 - found["C"]) / found["A"], rel=1e-4)


def test_it_trains_with_what_it_found_and_compares(followed):
    found, runs = summary(followed), configs(followed)
    decays = {run["optimizer"]["weight_decay"] for run in runs.values() if run["trainer"]["max_epochs"] == 4}
    options = pd.read_csv(followed / "options.csv").set_index("option")
    assert set(options["weight_decay"]) == decays >= {0.0, found["weight_decay"]}
    [name] = [name for name, run in runs.items() if run["optimizer"]["weight_decay"] == found["weight_decay"]]
    run = RunDirectory(followed / "runs" / name)
    phases = run.table("phase").read()
    assert options.loc["λ*", "J"] == pytest.approx(np.sqrt(phases["J2"].iloc[1:].mean()))  # 3 epochs at least
    drift = fit_slope(phases["epoch"], phases["J2"], window=(1, 4)).A
    growth = drift + found["A"] * phases["J2"].iloc[1:].mean()
    assert found["growth_under_decay"] == pytest.approx(growth, rel=0.01)
    [corrected] = [option for option in options.index if option.endswith("corrected")]
    expected = found["weight_decay"] * growth / found["A"]
    assert options.loc[corrected, "weight_decay"] == pytest.approx(expected, rel=0.01)
    assert options.loc["λ*", "test/loss"] == pytest.approx(run.summary()["metrics"]["test/loss"])
    assert options.loc["λ*", "lowest loss"] == pytest.approx(run.summary()["lowest_test_loss"]["loss"])
    assert len(pd.read_parquet(followed / "epochs.parquet")) == 5 * len(options)
    assert matplotlib.image.imread(followed / "figures" / "weight_decay.png").std() > 0


def test_what_it_says_to_run_next_is_the_run_it_trained(followed):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        again = plain(compose("train", [*summary(followed)["overrides_of_next_run"], "trainer.max_epochs=4"]))
    again["trainer"]["enable_progress_bar"] = False
    trained = [run for run in configs(followed).values() if run["trainer"]["max_epochs"] == 4]
    assert any(all(again[key] == run[key] for key in OF_A_RUN if key in run) for run in trained)


def test_finished_it_is_shown_and_cut_off_it_goes_on_where_it_was(followed, shell, tmp_path):
    here = tmp_path / "here"
    shutil.copytree(followed, here)
    there = {path: path.stat().st_mtime_ns for path in here.glob("runs/*/summary.json")}
    status, output, errors = shell("weight_decay", *QUICK["weight_decay"], *TRAINED, "hydra.run.dir=here")
    assert (status, errors, output[-1]) == (0, [], "figure: here/figures/weight_decay.png")
    before = summary(here)
    killed, *_ = there
    (here / "summary.json").unlink()
    shutil.rmtree(killed.parent)
    start("weight_decay", here, *TRAINED, "logger=wandb")
    again = {path: path.stat().st_mtime_ns for path in here.glob("runs/*/summary.json")}
    assert {path for path in again if again[path] != there.get(path)} <= {killed}
    texts = (
        found["text"].replace("uv run python scripts/train.py", "start-training train")
        for found in (summary(here), before)
    )  # the command is named as pytest was started
    assert next(texts).replace(" logger=wandb", "") == next(texts)
    mirrored = logged(records(here))
    assert (mirrored["weight_decay._type"], mirrored["options._type"]) == ("image-file", "table-file")


def test_a_decay_with_which_training_diverges_is_a_result(measure):
    found = summary(measure("train=true", "epochs=3", "factors=[1e6]", "speed=null", "correct=false"))
    assert [(row["option"], row["diverged"]) for row in found["training"]] == [("λ*", 0), ("1e+06 λ*", 1)]
    assert "(1 diverged)" in found["text"] and "With λ* J came to" in found["text"]


@pytest.mark.slow  # 10 seconds
def test_faster_runs_check_when_the_edge_is_reached(tmp_path):
    small_steps = ("optimizer.lr=0.02", "datamodule.batch_size=64", "measure=20", "window=null")
    settings = ("train=true", "epochs=3", "factors=[1]", "speed=[2]", "correct=false")
    here = start("weight_decay", tmp_path, *small_steps, *settings)
    found = summary(here)
    assert [(row["option"], row["speed"]) for row in found["faster"]] == [("2 eta", 2), ("B / 2", 2)]
    [edge] = found["measured_epochs_to_edge"]
    assert edge == pytest.approx(found["epochs_to_edge"], rel=0.1)
    for row in found["faster"]:
        assert row["edge epoch"] == pytest.approx(edge / 2, rel=0.25)  # the law is one of yet smaller steps
        assert f"epoch {row['edge epoch']:.4g}, predicted {found['epochs_to_edge'] / 2:.3g}" in found["text"]


UNTRAINED = [
    ("optimizer.weight_decay=1e-4", "optimizer.weight_decay = 0.0001: A is to be the growth of J² without decay"),
    ("+optimizer.dampening=0.5 optimizer.nesterov=false", "optimizer.dampening = 0.5: with it eta / (1 − alpha)"),
    ("schedule=one_cycle", "schedule = start_training.schedules.one_cycle.OneCycle: the slope of J² follows eta"),
    ("initializer.J=1.5", "J = 1.49 of hidden.linear at initialization: already in the chaotic phase"),
    ("initializer.J0=3", "J0 = 2.96 of hidden.linear at initialization: with a mean that large"),
    ("model.activation=relu", "ReLU after hidden.linear: its edge of chaos is not at J = 1"),
    ("model=convolutional model.depth=2 model.channels=4", "model: no square dense layer before the readout"),
]


@pytest.mark.parametrize(("typed", "expected"), UNTRAINED, ids=[typed for typed, _ in UNTRAINED])
def test_where_a_premise_fails_it_says_so_and_trains_nothing(tmp_path, typed, expected):
    here = start("weight_decay", tmp_path, *typed.split())
    assert not summary(here)["applies"]
    assert summary(here)["reason"].startswith(expected)
    assert not (here / "runs").exists()


def test_a_premise_that_fails_is_status_3_and_said_again(shell, tmp_path):
    typed = (*QUICK["weight_decay"], "optimizer=adam", "hydra.run.dir=here")
    status, [line], errors = shell("weight_decay", *typed)
    assert (status, errors) == (3, [])
    assert line.startswith("the guideline does not apply: optimizer = torch.optim.Adam: the guideline is that of torch")
    assert shell("weight_decay", *typed) == (3, [line], [])


MEASURED = [
    ("optimizer.lr=0.4 window=null", "seed 0: J² reaches 1 in epoch ", "lower eta / ((1 − alpha) B)"),
    ("optimizer.lr=1e38", "seed 0: the run without weight decay diverged", ""),
    ("window=[4,8] optimizer.lr=0.1", "seed 0: J² reaches 1 in epoch ", "within the window"),
    ("window=[0,8]", "A = ", "J² is not linear, its slope changes by -"),
    ("window=null measure=10", "A = ", "still changes; going on like this the slope would differ by -"),
    ("optimizer.lr=1e-6 optimizer.momentum=0 window=[0,3]", "A = ", "not above 0 within its error"),
]


@pytest.mark.parametrize(("typed", "expected", "also"), MEASURED, ids=[typed for typed, *_ in MEASURED])
def test_where_the_short_runs_show_no_slope_it_says_so(measure, typed, expected, also):
    found = summary(measure(*typed.split()))
    assert not found["applies"]
    assert found["reason"].startswith(expected)
    assert also in found["reason"]


@pytest.mark.slow  # 100 seconds: two runs of 280 epochs
def test_digits_settle_near_the_edge_and_with_five_times_as_much_they_do_not(shell, tmp_path):
    typed = ("logger=csv", "hydra.run.dir=here", "seeds=1", "train=true", "factors=[1,5]", "correct=false")
    assert shell("weight_decay", *typed)[0] == 0
    at_edge, five = summary(tmp_path / "here")["training"]
    assert abs(at_edge["J"] - 1) < 0.1 and not at_edge["moving"]
    assert five["J"] < 0.8


def test_the_command_that_trains_with_it_has_what_was_typed_of_a_run_and_no_more():
    measured = SimpleNamespace(weight_decay=1.2345e-3, slope=SimpleNamespace(A=0.1))
    words = next_run(
        Job({}, Path("here"), ("optimizer.lr=0.1", "measure=8", "+model.x=1", "initializer=he_normal")), measured
    )
    assert {"optimizer.lr=0.1", "+model.x=1", "initializer=he_normal", "model=tanh_layer"} < {*words}
    assert not {"measure=8", "initializer=phase"} & {*words} and words[-1] == "trainer.max_epochs=30"


@pytest.mark.parametrize("edge, said", [(12.0, "in epoch 12"), (np.nan, "in epoch not in every run")])
def test_a_faster_run_says_when_it_reached_the_edge_if_all_did(edge, said):
    row = {f"{name}{error}": 1.0 for name in ("lowest loss", "lowest epoch", "lowest J") for error in ("", " s.e.")}
    row |= {"edge epoch": edge, "edge epoch s.e.": np.nan}
    faster = SimpleNamespace(row=lambda: row, name="2 times the speed", curves=[SimpleNamespace(rows=range(21))])
    [text] = _faster_runs(SimpleNamespace(runs=[], faster=[(2.0, faster)]), 20.0)
    assert said in text and "predicted 10;" in text
