"""Simulations: what one leaves, that it can be repeated, cut off and continued, and what is said of mistakes."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir

from scripts.simulate import main_and_figure
from scripts.train import main as train
from src.ensembles.sample import Ensemble
from src.jobs.composed import plain
from src.jobs.record import Job
from src.jobs.simulate import simulate
from src.runs.directory import RunDirectory
from tests.jobs.conftest import CONF, SMALL
from tests.jobs.test_wandb import logged, records

SCRIPT = CONF.parent / "scripts" / "simulate.py"
QUICK = ("nets=50", "model.depth=3", "model.width=16", "progress=false", "logger=csv")
WIDE = ("nets=60", "model.depth=2", "model.width=400", "progress=false", "logger=csv")  # a chunk is one net

USERS_MODULE = """
import os, signal, time
import torch
from torch import nn

drawn = 0

def normal_(weight, generator):  # slow, or interrupted by itself, where the environment says so
    global drawn
    drawn += 1
    weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=generator)
    time.sleep(float(os.environ.get("SLOWLY", 0)))
    if drawn == int(os.environ.get("INTERRUPT_AT", 0)):
        os.kill(os.getpid(), signal.SIGINT)

def nan_(weight):
    weight.fill_(float("nan"))

class Nothing(nn.Module):
    def __init__(self, input_size, classes):
        super().__init__()

    def forward(self, inputs):
        return inputs

class Failing(nn.Module):
    def __init__(self, input_size, classes):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(input_size + 1, 8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, inputs):
        return self.net(inputs)

class Bottleneck(nn.Module):
    def __init__(self, input_size, classes, *, width=8):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(input_size, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, inputs):
        return self.net(inputs)

class Looking(Bottleneck):  # at its data, which vmap cannot
    def forward(self, inputs):
        return self.net(inputs) if inputs.sum() > 0 else self.net(-inputs)
"""

USERS_CONF = {
    "model/bottleneck": "Bottleneck",
    "model/looking": "Looking",
    "model/nothing": "Nothing",
    "model/failing": "Failing",
    "initializer/mine": "normal_",
    "initializer/broken": "nan_",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's module and conf/, a finished simulation, one cut off at its first net, and two training runs."""
    world = tmp_path_factory.mktemp("world")
    (world / "users.py").write_text(USERS_MODULE)
    for option, target in USERS_CONF.items():
        path = world / "my_conf" / f"{option}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"_target_: users.{target}\n")
    simulate(Job(composed(), world / "simulation"))
    cut = RunDirectory(world / "cut")
    cut.begin(composed())
    cut.release()
    return world


def composed(*overrides: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("simulate", [*QUICK, *overrides]))


@pytest.fixture
def attempt(world, shell, monkeypatch):
    """Call the script as the shell would: its exit status, and its lines on stdout and stderr."""
    monkeypatch.syspath_prepend(str(world))

    def call(*arguments: str, main=main_and_figure) -> tuple[int, list[str], list[str]]:
        return shell(SCRIPT, main, *arguments)

    return call


@pytest.fixture
def sampled(monkeypatch) -> list[int]:
    """How many nets each block had that was sampled."""
    blocks: list[int] = []
    sample = Ensemble.log_lengths

    def counted(self, *arguments, **settings) -> Iterator[np.ndarray]:
        for block in sample(self, *arguments, **settings):
            blocks.append(len(block))
            yield block

    monkeypatch.setattr(Ensemble, "log_lengths", counted)
    return blocks


def rows(directory: Path) -> pd.DataFrame:
    return pd.read_parquet(directory / "lengths")


def state(directory: Path) -> dict[Path, tuple[str, int]]:
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != ".lock"]
    files = [path for path in files if path.suffix != ".pyc"]
    return {path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def test_a_simulation_leaves_its_lengths_their_table_and_figure_and_all_it_takes_to_repeat_it(attempt, tmp_path):
    status, output, errors = attempt(*QUICK, "hydra.run.dir=run")
    assert (status, errors) == (0, [])
    assert output[-1] == "directory: run"
    lengths, layers = rows(tmp_path / "run"), pd.read_csv(tmp_path / "run" / "layers.csv")
    assert lengths.columns.tolist() == ["net", "0", "1", "2", "3"]
    assert lengths["net"].tolist() == list(range(50))
    np.testing.assert_allclose(lengths["0"], 0, atol=1e-6)  # inputs of length 1
    np.testing.assert_allclose(layers["median"], (lengths.drop(columns="net").sub(lengths["0"], axis=0)).median())
    for file in ("figures/lengths.png", "figures/lengths.pdf"):
        assert (tmp_path / "run" / file).stat().st_size > 5000
    summary = RunDirectory(tmp_path / "run").summary()
    assert (summary["status"], summary["nets"], summary["sampler"]) == ("completed", 50, "layerwise")
    assert summary["layers"] == layers["name"].tolist() == ["input", *(f"hidden.{j}.activation" for j in range(3))]
    assert {"seed", "overrides", "config_hash", "versions", "commit", "seconds"} < summary.keys()


@pytest.mark.parametrize("sampler", ["layerwise", "vectorized", "reference"])
def test_rebuilt_from_config_yaml_alone_it_gives_the_same_bits(tmp_path, sampler):
    simulate(Job(composed(f"sampler={sampler}"), tmp_path / "one"))
    config = yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())
    simulate(Job(config, tmp_path / "two"))
    assert rows(tmp_path / "one").equals(rows(tmp_path / "two"))
    for file in ("layers.csv", "figures/lengths.png", "figures/lengths.pdf"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    simulate(Job(config | {"seed": 1}, tmp_path / "three"))
    assert not rows(tmp_path / "one").equals(rows(tmp_path / "three"))


def test_repeated_it_samples_nothing_and_changes_no_byte(attempt, sampled, tmp_path):
    first = attempt(*QUICK)
    before = state(tmp_path)
    assert sum(sampled) == 50
    sampled.clear()
    assert attempt(*QUICK) == first
    assert sampled == []
    assert state(tmp_path) == before


def test_wandb_gets_the_figure_and_the_table(tmp_path):
    simulate(Job(composed("logger=wandb"), tmp_path, overrides=("nets=50",), sweep="a-sweep"))
    found = records(tmp_path)
    [begun] = [record.run for record in found if record.WhichOneof("record_type") == "run"][:1]
    assert (begun.run_group, begun.display_name) == ("a-sweep", "nets=50")
    kinds = {key: value for key, value in logged(found).items() if key.endswith("_type")}
    assert kinds == {"lengths._type": "image-file", "layers._type": "table-file"}


def test_ctrl_c_keeps_what_was_sampled_and_the_same_command_goes_on_from_there(
    attempt, sampled, world, tmp_path, monkeypatch
):
    typed = (*WIDE, f"hydra.searchpath=[file://{world}/my_conf]", "initializer=mine")
    assert attempt(*typed, "hydra.run.dir=whole")[0] == 0
    monkeypatch.setenv("INTERRUPT_AT", str(sys.modules["users"].drawn + 60))  # two layers a net
    sampled.clear()
    status, output, errors = attempt(*typed, "hydra.run.dir=cut")
    assert (status, output) == (130, [])
    assert errors == ["interrupted: the same command goes on from what has been sampled"]
    kept = rows(tmp_path / "cut")
    assert 0 < len(kept) == sum(sampled) < 60
    assert RunDirectory(tmp_path / "cut").summary() is None
    assert attempt(*typed, "seed=1", "hydra.run.dir=cut")[2][0].startswith(
        f"error: hydra.run.dir = {tmp_path}/cut: already holds a run of another config ("
    )
    sampled.clear()
    assert attempt(*typed, "hydra.run.dir=cut")[0] == 0
    assert sum(sampled) == 60 - len(kept)
    assert rows(tmp_path / "cut").equals(rows(tmp_path / "whole"))
    assert (tmp_path / "cut" / "layers.csv").read_bytes() == (tmp_path / "whole" / "layers.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_stopped_keeps_its_rows_and_its_directory_from_others(attempt, world, tmp_path, signum):
    where = f"hydra.run.dir={tmp_path}/cut"
    typed = (*WIDE, f"hydra.searchpath=[file://{world}/my_conf]", "initializer=mine")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    environment |= {"SLOWLY": "0.1", "PYTHONPATH": str(world)}  # 60 nets of two layers: 12 s
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *typed, where], env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not any((tmp_path / "cut" / "lengths").glob("part-*.parquet")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert attempt(*typed, where) == (
        1,
        [],
        [f"error: hydra.run.dir = {tmp_path}/cut: another process is writing a run here"],
    )
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    if signum == signal.SIGINT:
        assert process.returncode == 130
        assert errors == "interrupted: the same command goes on from what has been sampled\n"
    else:
        assert (process.returncode, errors) == (-signum, "")
    kept = rows(tmp_path / "cut")
    assert kept["net"].tolist() == list(range(len(kept)))
    assert 0 < len(kept) < 60
    assert attempt(*typed, where)[0] == 0
    assert attempt(*typed, f"hydra.run.dir={tmp_path}/whole")[0] == 0
    assert rows(tmp_path / "cut").equals(rows(tmp_path / "whole"))


def test_cut_off_after_its_last_net_it_is_finished_as_if_it_had_not_been(attempt, sampled, tmp_path):
    attempt(*QUICK, "hydra.run.dir=run")
    run = RunDirectory(tmp_path / "run")
    summary = run.summary()
    for file in (run.summary_file, run.path / "layers.csv", run.figure):
        file.unlink()
    sampled.clear()
    assert attempt(*QUICK, "hydra.run.dir=run")[0] == 0
    assert sampled == []
    assert run.figure.exists()
    assert run.summary() | {"seconds": 0} == summary | {"seconds": 0}


def test_a_directory_where_training_failed_at_once_is_free_for_a_simulation(attempt, tmp_path):
    assert attempt(*SMALL, "model.depth=0", "hydra.run.dir=run", main=lambda: _as_train(train))[0] == 1
    assert RunDirectory(tmp_path / "run").summary()["status"] == "failed"
    assert attempt(*QUICK, "hydra.run.dir=run")[0] == 0
    assert RunDirectory(tmp_path / "run").summary()["status"] == "completed"
    assert RunDirectory(tmp_path / "run").config()["nets"] == 50


def _as_train(main) -> None:
    sys.argv[0] = str(SCRIPT.with_name("train.py"))
    main()


def test_a_simulation_that_failed_at_once_leaves_its_directory_to_any_other(attempt, tmp_path):
    for mistake in ("sampler=wrong", "nets=1"):
        assert attempt(*QUICK, "hydra.run.dir=run", mistake)[0] == 1
    assert attempt(*QUICK, "hydra.run.dir=run")[0] == 0
    assert RunDirectory(tmp_path / "run").summary()["status"] == "completed"


WHOLE = "must be a whole number of at least"
USERS_NETS = ("model=bottleneck", "model=looking", "model=nothing", "model=failing")  # have no depth to set
# What is typed, and how the line goes on after `error: `. {world}: see the fixture.
MISTAKES = [
    ("nets=1", f"nets = 1: {WHOLE} 2"),
    ("nets=1.5", f"nets = 1.5: {WHOLE} 2"),
    ("nets=many", f"nets = 'many': {WHOLE} 2"),
    ("samples=0", f"samples = 0: {WHOLE} 1"),
    ("seed=-1", f"seed = -1: {WHOLE} 0"),
    ("sampler=wrong", "sampler = 'wrong': must be one of auto, layerwise, reference, vectorized"),
    ("sampler=layerwise model.dropout=0.5", "sampler = layerwise: knows no FullyConnected, or not with dropout"),
    ("model=bottleneck sampler=layerwise", "sampler = layerwise: knows no Bottleneck, or "),
    (
        "model=looking sampler=vectorized",
        "sampler = 'vectorized': torch cannot vectorize this net; reference samples any",
    ),
    ("device=cuda:99", "device = 'cuda:99': no such device here"),
    ("device=nonsense", "device = 'nonsense': no such device here"),
    ("device=meta", "device = 'meta': nets are sampled on cpu or cuda"),
    ("device=null", "device = None: no such device here"),
    ("model=nothing", "model: Nothing: has neither activation modules nor modules with weights"),
    ("model=failing", "model = users.Failing: fails on samples = 1 of shape (100,) (RuntimeError: "),
    ("model.depth=0", f"model.depth = 0: {WHOLE} 1"),
    ("initializer=broken", "initializer = users.nan_: gives lengths that are not numbers"),
    ("initializer=broken sampler=vectorized", "initializer = users.nan_: gives lengths that are not numbers"),
    ("initializer=broken sampler=reference", "initializer = users.nan_: left non-finite weights, where all must be "),
    ("initializer=nowhere", "initializer = nowhere: no such option; there are broken, critical, glorot_normal, "),
    ("datamodule.input_size=0", f"datamodule.input_size = 0: {WHOLE} 1"),
    ("figure={{_target_:nowhere.draw}}", "figure._target_ = 'nowhere.draw': cannot be imported ("),
    (
        "figure={{_target_:src.figures.length_variance.draw_length_variance,colour:red}}",
        "figure.colour = 'red': no such setting; there are by, title",
    ),
    ("net=10", "net = 10: no such key; there are "),
    ("hydra.run.dir={world}/simulation seed=1", "hydra.run.dir = {world}/simulation: already holds a run of another "),
    ("hydra.run.dir={world}/cut nets=51", "hydra.run.dir = {world}/cut: already holds a run of another config ("),
    ("hydra.run.dir={world}/users.py", "hydra.run.dir = {world}/users.py: cannot be written to ("),
]


@pytest.mark.parametrize(("typed", "expected"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_in_a_simulation_is_one_line_and_loses_nothing(attempt, world, tmp_path, typed, expected):
    overrides, expected = typed.format(world=world).split(" "), expected.format(world=world)
    before = state(world)
    quick = [each for each in QUICK if not (typed.startswith(USERS_NETS) and each.startswith("model."))]
    users = (f"hydra.searchpath=[file://{world}/my_conf]", f"hydra.run.dir={tmp_path}/new")
    status, output, errors = attempt(*quick, *users, *overrides)
    assert (status, output) == (1, [])
    [line] = errors
    assert line.startswith(f"error: {expected}")
    assert state(world) == before


def test_a_gpu_that_is_not_there(attempt):
    assert attempt(*QUICK, "device=cuda:99") == (1, [], ["error: device = 'cuda:99': no such device here"])


def test_the_directory_of_a_training_run_is_left_alone(attempt, tmp_path):
    typed = (*SMALL, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert attempt(*typed, main=lambda: _as_train(train))[0] == 0
    before = state(tmp_path)
    status, output, [line] = attempt(*QUICK, "hydra.run.dir=run")
    assert (status, output) == (1, [])
    assert line.startswith(f"error: hydra.run.dir = {tmp_path}/run: already holds a run of another config (")
    assert state(tmp_path) == before


def test_a_users_architecture_and_initializer_are_simulated_from_outside_the_repository(world, tmp_path):
    typed = (f"hydra.searchpath=[file://{world}/my_conf]", "model=bottleneck", "initializer=mine,he_normal")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), "-m", *typed, "nets=200", "logger=csv", "progress=false"],
        cwd=tmp_path, env={**kept, "PYTHONPATH": str(world)}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    directories = sorted(tmp_path.glob("runs/simulations/*/"))
    assert len(directories) == 2
    for directory in directories:
        summary, layers = RunDirectory(directory).summary(), pd.read_csv(directory / "layers.csv")
        assert (summary["sampler"], summary["layers"]) == ("vectorized", ["input", "net.2"])
        assert abs(layers["log_mean"][1]) < 4 * layers["log_mean_error"][1]  # both are He's law


SWEEP = ("-m", *QUICK, "hydra.sweep.dir=sweep", "figure={_target_:users_figure.draw}")
USERS_FIGURE = """
from matplotlib.figure import Figure

tables = []

def draw(table):
    tables.append(table)
    return Figure()
"""


@pytest.fixture
def drawn(tmp_path, monkeypatch) -> list[pd.DataFrame]:
    """The tables that the figure of the sweep was drawn from."""
    (tmp_path / "users_figure.py").write_text(USERS_FIGURE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "users_figure", raising=False)
    from users_figure import tables

    return tables


def test_a_multirun_is_addressed_by_content_skips_what_is_there_and_draws_all_of_it(attempt, sampled, drawn, tmp_path):
    status, output, errors = attempt(*SWEEP, "seed=0,1")
    assert (status, errors) == (0, [])
    assert output[-1] == "figure: sweep/figure.png, sweep/figure.pdf, sweep/figure.csv"
    found = {path.parent.name: RunDirectory(path.parent).summary() for path in tmp_path.glob("sweep/*/summary.json")}
    assert len(found) == 2
    assert all(name == summary["config_hash"] for name, summary in found.items())
    before = state(tmp_path / "sweep")
    assert attempt(*SWEEP, "seed=0,1,2", "model.depth=3")[0] == 0  # further settings, and two that are there
    assert sum(sampled) == 3 * 50
    after = state(tmp_path / "sweep")
    assert {path: after[path] for path in before if path.parent.parent.name == "sweep"} == {
        path: before[path] for path in before if path.parent.parent.name == "sweep"
    }
    assert [table["seed"].unique().tolist() for table in drawn] == [["0", "1"], ["0", "1", "2"]]
    table = pd.read_csv(tmp_path / "sweep" / "figure.csv")
    assert len(table) == 3 * 4
    assert table["simulation"].unique().tolist() == [0, 1, 2]
    assert set(table["depth"]) == {3}
    assert set(table["nets"]) == {50}
    each = [pd.read_csv(path) for path in tmp_path.glob("sweep/*/layers.csv")]
    assert sorted(table["log_mean"]) == sorted(pd.concat(each)["log_mean"])


def test_a_job_that_fails_stops_no_other_and_leaves_the_sweep_without_a_figure(attempt, drawn, tmp_path):
    status, output, errors = attempt(*SWEEP, "model.depth=0,2,3")
    assert status == 1
    said, hydras = errors
    assert said == f"error: model.depth = 0: {WHOLE} 1"
    assert hydras.startswith("Error executing job with overrides: [")
    assert [line.partition(": ")[2][:8] for line in output] == ["50 nets ", "50 nets "]
    assert len(list(tmp_path.glob("sweep/*/summary.json"))) == 2
    assert drawn == []


def test_ctrl_c_ends_a_multirun_and_the_same_command_finishes_it(attempt, sampled, drawn, world, tmp_path, monkeypatch):
    users = (f"hydra.searchpath=[file://{world}/my_conf]", "initializer=mine", "nets=60", "model.width=400")
    monkeypatch.setenv("INTERRUPT_AT", str(getattr(sys.modules.get("users"), "drawn", 0) + 3 * 60 + 90))
    status, output, errors = attempt(*SWEEP, *users, "seed=0,1,2")
    assert status == 130
    assert len(output) == 1
    assert errors == ["interrupted: the same command goes on from what has been sampled"]
    assert 60 < sum(sampled) < 120
    assert len(list(tmp_path.glob("sweep/*/config.yaml"))) == 2
    assert attempt(*SWEEP, *users, "seed=0,1,2")[0] == 0
    assert sum(sampled) == 3 * 60
    [table] = drawn
    assert table["simulation"].nunique() == 3


def test_an_experiment_of_another_script_is_refused_before_anything_runs(attempt, tmp_path):
    said = "error: script = simulate: this experiment is one of scripts/simulate.py"
    status, output, errors = attempt("experiment=hanin_rolnick/figure_1a", "logger=csv", main=lambda: _as_train(train))
    assert (status, output, errors) == (1, [], [said])
    assert not list(tmp_path.rglob("summary.json"))
