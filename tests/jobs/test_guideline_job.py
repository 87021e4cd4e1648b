"""scripts/weight_decay.py: what it measures, trains and leaves, that it goes on, and where it gives no number."""

import json
import math
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir

from scripts.weight_decay import main
from src.jobs.composed import plain
from src.jobs.trials import OF_A_RUN
from src.order_chaos.slope import fit_slope
from src.runs.directory import RunDirectory
from tests.jobs.conftest import CONF
from tests.jobs.test_wandb import logged, records

SCRIPT = CONF.parent / "scripts" / "weight_decay.py"
QUICK = (  # 1437 digits in batches of 128: 12 steps an epoch
    "datamodule.batch_size=128",
    "optimizer.lr=0.04",
    "measure=8",
    "window=[5,8]",  # where J² is nearly linear already
    "seeds=1",
    "logger=csv",
    "hydra.run.dir=here",
)
TRAINED = ("train=true", "epochs=4", "factors=[0,1]", "speed=null")


@pytest.fixture
def attempt(shell):
    """Call the script as the shell would: its exit status, and its lines on stdout and stderr."""
    return lambda *arguments: shell(SCRIPT, main, *arguments)


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


def configs(directory: Path) -> dict[str, dict]:
    """Of all its runs, by directory."""
    found = sorted(directory.glob("runs/*/config.yaml"))
    return {path.parent.name: yaml.safe_load(path.read_text()) for path in found}


def test_it_measures_the_slope_and_says_the_weight_decay(attempt, tmp_path):
    status, output, errors = attempt(*QUICK, "seeds=2")
    assert (status, errors) == (0, [])
    here = tmp_path / "here"
    runs = configs(here)
    assert [(run["optimizer"]["weight_decay"], run["trainer"]["max_epochs"]) for run in runs.values()] == [(0, 8)] * 2
    slopes = []
    for name in runs:
        phases = RunDirectory(here / "runs" / name).table("phase").read()
        assert phases["name"].unique().tolist() == ["hidden.linear"]
        slopes.append(fit_slope(phases["epoch"], phases["J2"], window=(5, 8)).A)
    found = summary(here)
    assert found["A"] == pytest.approx(np.mean(slopes))
    assert found["seeds"] == pytest.approx(np.std(slopes, ddof=1) / math.sqrt(2))
    assert found["lambda"] == pytest.approx(np.mean(slopes) * (1 - 0.9) * 128 / (4 * 0.04 * 1437))
    assert found["weight_decay"] == pytest.approx(2 * found["lambda"], rel=1e-2)
    assert found["weight_decay_error"] == pytest.approx(2 * found["lambda"] * found["error"] / found["A"])
    assert found["training"] == [] and not (here / "figures").exists()
    assert (here / "report.md").read_text() == found["text"]
    assert f"2 λ* = {found['weight_decay']:.3g}" in "".join(output)


def test_faster_settings_reach_the_same_edge_in_fewer_epochs(attempt, tmp_path):
    assert attempt(*QUICK, "speed=[2,3]")[0] == 0
    found = summary(tmp_path / "here")
    rows = [line.split(" | ") for line in found["text"].splitlines() if line.startswith("| ×")]
    assert [(row[0], row[1], row[2]) for row in rows] == [("| × 2", "0.08", "64"), ("| × 3", "0.12", "—")]
    for row, speed in zip(rows, (2, 3), strict=True):
        assert float(row[3].split()[0]) == pytest.approx(found["epochs_to_edge"] / speed, rel=0.01)
    edge = (1 - found["C"]) / found["A"]
    assert found["epochs_to_edge"] == pytest.approx(edge)


def test_it_trains_with_what_it_found_and_compares(attempt, tmp_path):
    status, output, errors = attempt(*QUICK, *TRAINED)
    assert (status, errors) == (0, [])
    here = tmp_path / "here"
    found, runs = summary(here), configs(here)
    decays = {run["optimizer"]["weight_decay"] for run in runs.values() if run["trainer"]["max_epochs"] == 4}
    options = pd.read_csv(here / "options.csv").set_index("option")
    assert set(options["weight_decay"]) == decays >= {0.0, found["weight_decay"]}
    [name] = [name for name, run in runs.items() if run["optimizer"]["weight_decay"] == found["weight_decay"]]
    run = RunDirectory(here / "runs" / name)
    phases = run.table("phase").read()
    assert options.loc["λ*", "J"] == pytest.approx(np.sqrt(phases["J2"].iloc[1:].mean()))  # 3 epochs at least
    drift = fit_slope(phases["epoch"], phases["J2"], window=(1, 4)).A
    growth = drift + found["A"] * phases["J2"].iloc[1:].mean()
    assert found["growth_under_decay"] == pytest.approx(growth, rel=0.01)
    corrected = [option for option in options.index if option.endswith("corrected")]
    assert options.loc[corrected[0], "weight_decay"] == pytest.approx(
        found["weight_decay"] * growth / found["A"], rel=0.01
    )
    assert options.loc["λ*", "test/loss"] == pytest.approx(run.summary()["metrics"]["test/loss"])
    assert options.loc["λ*", "lowest loss"] == pytest.approx(run.summary()["lowest_test_loss"]["loss"])
    assert len(pd.read_parquet(here / "epochs.parquet")) == 5 * len(options)
    assert output[-1] == "figure: here/figures/weight_decay.png"
    assert matplotlib.image.imread(here / "figures" / "weight_decay.png").std() > 0


def test_what_it_says_to_run_next_is_the_run_it_trained(attempt, tmp_path):
    assert attempt(*QUICK, *TRAINED, "correct=false")[0] == 0
    found = summary(tmp_path / "here")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        again = plain(compose("train", [*found["overrides_of_next_run"], "trainer.max_epochs=4"]))
    again["trainer"]["enable_progress_bar"] = False
    trained = [run for run in configs(tmp_path / "here").values() if run["trainer"]["max_epochs"] == 4]
    assert any(all(again[key] == run[key] for key in OF_A_RUN if key in run) for run in trained)


def test_a_decay_with_which_training_diverges_is_a_result(attempt, tmp_path):
    assert attempt(*QUICK, "train=true", "epochs=3", "factors=[1e6]", "speed=null", "correct=false")[0] == 0
    text, rows = (summary(tmp_path / "here")[key] for key in ("text", "training"))
    assert [(row["option"], row["diverged"]) for row in rows] == [("λ*", 0), ("1e+06 λ*", 1)]
    assert "(1 diverged)" in text and "With λ* J came to" in text


def test_faster_runs_check_when_the_edge_is_reached(attempt, tmp_path):
    small_steps = ("optimizer.lr=0.02", "datamodule.batch_size=64", "measure=20", "window=null")
    settings = ("train=true", "epochs=3", "factors=[1]", "speed=[2]", "correct=false")
    assert attempt(*QUICK, *small_steps, *settings)[0] == 0
    found = summary(tmp_path / "here")
    assert [(row["option"], row["speed"]) for row in found["faster"]] == [("2 eta", 2), ("B / 2", 2)]
    runs = [run for run in configs(tmp_path / "here").values() if run["optimizer"]["weight_decay"] == 0]
    ways = {(run["optimizer"]["lr"], run["datamodule"]["batch_size"]): run["trainer"]["max_epochs"] for run in runs}
    assert ways.keys() == {(0.02, 64), (0.04, 64), (0.02, 32)}
    assert min(ways.values()) >= found["epochs_to_edge"]
    [edge] = found["measured_epochs_to_edge"]
    assert edge == pytest.approx(found["epochs_to_edge"], rel=0.1)
    for row in found["faster"]:
        assert row["edge epoch"] == pytest.approx(edge / 2, rel=0.25)  # the law is one of yet smaller steps
        assert f"epoch {row['edge epoch']:.4g}, predicted {found['epochs_to_edge'] / 2:.3g}" in found["text"]


def test_it_goes_on_where_it_was_stopped(attempt, tmp_path):
    assert attempt(*QUICK, *TRAINED)[0] == 0
    here = tmp_path / "here"
    there = {path.parent.name: path.stat().st_mtime_ns for path in here.glob("runs/*/summary.json")}
    before = summary(here)
    killed, *_ = there
    (here / "summary.json").unlink()
    shutil.rmtree(here / "runs" / killed)
    assert attempt(*QUICK, *TRAINED)[0] == 0
    again = {path.parent.name: path.stat().st_mtime_ns for path in here.glob("runs/*/summary.json")}
    assert {name for name in again if again[name] != there[name]} == {killed}
    assert summary(here)["text"] == before["text"]


def test_wandb_gets_the_figure_and_the_table(attempt, tmp_path):
    assert attempt(*QUICK[:-2], *TRAINED, "correct=false", "hydra.run.dir=here")[0] == 0
    mirrored = logged(records(tmp_path / "here"))
    assert (mirrored["weight_decay._type"], mirrored["options._type"]) == ("image-file", "table-file")


UNTRAINED = [
    ("optimizer=adamw", "optimizer = torch.optim.AdamW: the guideline is that of torch.optim.SGD"),
    ("optimizer=adam", "optimizer = torch.optim.Adam: the guideline is that of torch.optim.SGD"),
    ("optimizer.weight_decay=1e-4", "optimizer.weight_decay = 0.0001: A is to be the growth of J² without decay"),
    ("+optimizer.dampening=0.5 optimizer.nesterov=false", "optimizer.dampening = 0.5: with it eta / (1 − alpha)"),
    ("+optimizer.maximize=true", "optimizer.maximize = True: with it eta / (1 − alpha)"),
    ("schedule=one_cycle", "schedule = src.schedules.one_cycle.OneCycle: the slope of J² follows eta"),
    ("initializer.J=1.5", "J = 1.49 of hidden.linear at initialization: already in the chaotic phase"),
    ("initializer.J0=3", "J0 = 2.96 of hidden.linear at initialization: with a mean that large"),
    ("model.activation=relu", "ReLU after hidden.linear: its edge of chaos is not at J = 1"),
    ("model=fully_connected model.depth=2", "model: no square dense layer before the readout, whose J could be"),
    ("model=convolutional model.depth=2 model.channels=4", "model: no square dense layer before the readout"),
]


@pytest.mark.parametrize(("typed", "expected"), UNTRAINED, ids=[typed for typed, _ in UNTRAINED])
def test_where_a_premise_fails_it_says_so_and_trains_nothing(attempt, tmp_path, typed, expected):
    widths = ("model.widths=[32,16]", "model.depth=null", "model.width=null") if "fully" in typed else ()
    status, output, errors = attempt(*QUICK, *typed.split(), *widths)
    assert (status, errors) == (3, [])
    [line] = output
    assert line.startswith(f"the guideline does not apply: {expected}")
    assert not (tmp_path / "here" / "runs").exists()
    assert not summary(tmp_path / "here")["applies"]
    assert attempt(*QUICK, *typed.split(), *widths)[:2] == (3, output)  # what was found is said again


MEASURED = [
    ("optimizer.lr=0.4 window=null", "seed 0: J² reaches 1 in epoch ", "lower eta / ((1 − alpha) B)"),
    ("optimizer.lr=1e38", "seed 0: the run without weight decay diverged", ""),
    ("window=[4,8] optimizer.lr=0.1", "seed 0: J² reaches 1 in epoch ", "within the window"),
    ("window=[0,8]", "A = ", "J² is not linear, its slope changes by -"),
    ("window=null measure=10", "A = ", "still changes; going on like this the slope would differ by -"),
    ("optimizer.lr=1e-6 optimizer.momentum=0 window=[0,3]", "A = ", "not above 0 within its error"),
]


@pytest.mark.parametrize(("typed", "expected", "also"), MEASURED, ids=[typed for typed, *_ in MEASURED])
def test_where_the_short_runs_show_no_slope_it_says_so(attempt, typed, expected, also):
    status, output, errors = attempt(*QUICK, *typed.split())
    assert (status, errors) == (3, [])
    assert output[-1].startswith(f"the guideline does not apply: {expected}")
    assert also in output[-1]


MISTAKES = [
    ("initializer.J=0", "initializer.J = 0: must be a number above 0"),
    ("optimizer.momentum=1", "optimizer.momentum = 1: must be a fraction"),
    ("optimizer.lr=0", "optimizer.lr = 0: must be a number above 0"),
    ("measure=2", "measure = 2: must be a whole number of at least 3"),
    ("window=[2,4]", "window = [2, 4]: must be [start, end], at least 3 epochs apart"),
    ("window=[4,9]", "window = [4, 9]: must end within the 8 epochs"),
    ("window=abc", "window = abc: must be [start, end]"),
    ("skip=1", "skip = 1: must be a fraction"),
    ("seeds=0", "seeds = 0: must be a whole number of at least 1"),
    ("train=maybe", "train = 'maybe': must be true or false"),
    ("epochs=2", "epochs = 2: must be a whole number of at least 3"),
    ("factors=[]", "factors = []: must be a list of at least one"),
    ("factors=[-1]", "factors = -1: must be a number of at least 0"),
    ("speed=[0.5]", "speed = [0.5]: must be numbers above 1"),
    ("callbacks=none", "callbacks = none: must hold phase"),
    ("callbacks=lengths", "callbacks = lengths: must hold phase"),
    ("trainer.max_steps=20", "trainer.max_steps = 20: would cut runs short"),
    ("trainer=ddp_cpu", "trainer.devices = 2: its runs are trained one after the other in one process"),
    ("model.window=3", "model.window = 3: must divide the sides of images"),
    ("depth=3", "depth = 3: is that of a family"),
]


@pytest.mark.parametrize(("typed", "expected"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_one_line(attempt, typed, expected):
    status, output, errors = attempt(*QUICK, *typed.split())
    assert (status, output) == (1, [])  # before anything is trained
    [line] = errors
    assert line.startswith(f"error: {expected}")
    assert "HYDRA_FULL_ERROR" not in line


@pytest.mark.slow  # 100 seconds: two runs of 280 epochs
def test_digits_settle_near_the_edge_and_with_five_times_as_much_they_do_not(attempt, tmp_path):
    assert (
        attempt("logger=csv", "hydra.run.dir=here", "seeds=1", "train=true", "factors=[1,5]", "correct=false")[0] == 0
    )
    at_edge, five = summary(tmp_path / "here")["training"]
    assert abs(at_edge["J"] - 1) < 0.1 and not at_edge["moving"]
    assert five["J"] < 0.8
