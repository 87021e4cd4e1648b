"""The simulate command: its output files, repeating and resuming a simulation, the figure of a multirun, errors."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from omegaconf import DictConfig

from start_training.ensembles.sample import Ensemble
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.studies.simulate import SIMULATE
from tests import forked
from tests.composing import QUICK, start
from tests.small_runs import CONF
from tests.wandb_records import logged, records

SCRIPT = CONF.parent / "scripts" / "simulate.py"
SMALLEST = QUICK["simulate"]
WIDE = ("nets=60", "model.depth=2", "model.width=400", "progress=false", "logger=csv")  # a chunk is one net

USERS_MODULE = """
import os, signal, time
import torch
from torch import nn

drawn = 0

def normal_(weight, generator):  # sleeps for SLOWLY seconds, and interrupts the process at call INTERRUPT_AT
    global drawn
    drawn += 1
    weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=generator)
    time.sleep(float(os.environ.get("SLOWLY", 0)))
    if drawn == int(os.environ.get("INTERRUPT_AT", 0)):
        os.kill(os.getpid(), signal.SIGINT)

class Bottleneck(nn.Module):
    def __init__(self, input_size, classes, *, width=8):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(input_size, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, inputs):
        return self.net(inputs)

"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the repository with a user's module and conf/."""
    world = tmp_path_factory.mktemp("world")
    (world / "users.py").write_text(USERS_MODULE)
    for option, target in {"model/bottleneck": "Bottleneck", "initializer/mine": "normal_"}.items():
        path = world / "my_conf" / f"{option}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"_target_: users.{target}\n")
    return world


@pytest.fixture(scope="module")
def simulation(tmp_path_factory) -> Path:
    """The directory of a finished simulation."""
    return start("simulate", tmp_path_factory.mktemp("simulation") / "run")


@pytest.fixture
def attempt(world, shell, monkeypatch):
    """Call the script as the shell would: its exit status, and its lines on stdout and stderr."""
    monkeypatch.syspath_prepend(str(world))

    def call(*arguments: str, command: str = "simulate") -> tuple[int, list[str], list[str]]:
        return shell(command, *arguments)

    return call


@pytest.fixture
def sampled(monkeypatch) -> list[int]:
    """The number of nets in each sampled block."""
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


def state(directory: Path) -> dict[Path, int]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.suffix not in (".lock", ".pyc"))
    return {path: path.stat().st_mtime_ns for path in files if path.name != ".lock"}


def test_a_simulation_writes_lengths_table_figure_and_summary(simulation):
    lengths, layers = rows(simulation), pd.read_csv(simulation / "layers.csv")
    assert lengths.columns.tolist() == ["net", "0", "1", "2", "3"]
    assert lengths["net"].tolist() == list(range(50))
    np.testing.assert_allclose(layers["median"], (lengths.drop(columns="net").sub(lengths["0"], axis=0)).median())
    for file in ("figures/lengths.png", "figures/lengths.pdf"):
        assert (simulation / file).stat().st_size > 5000
    summary = RunDirectory(simulation).summary()
    assert (summary["status"], summary["nets"], summary["sampler"]) == ("completed", 50, "layerwise")
    assert summary["layers"] == layers["name"].tolist() == ["input", *(f"hidden.{j}.activation" for j in range(3))]
    assert {"seed", "overrides", "config_hash", "versions", "commit", "seconds"} < summary.keys()


def test_a_simulation_repeated_from_config_yaml_gives_the_same_bits(simulation, tmp_path):
    config = yaml.safe_load((simulation / "config.yaml").read_text())
    SIMULATE.carry_out(Job(config, tmp_path / "again", overrides=SMALLEST), DictConfig(config))
    assert rows(tmp_path / "again").equals(rows(simulation))
    assert (tmp_path / "again" / "layers.csv").read_bytes() == (simulation / "layers.csv").read_bytes()


def test_the_command_of_a_finished_simulation_samples_nothing_and_changes_no_file(
    simulation, attempt, sampled, tmp_path
):
    shutil.copytree(simulation, tmp_path / "run")
    before = state(tmp_path)
    status, output, errors = attempt(*SMALLEST, "hydra.run.dir=run")
    assert (status, errors, output[-1]) == (0, [], "directory: run")
    assert sampled == []
    assert state(tmp_path) == before


def test_after_ctrl_c_the_same_command_continues_with_the_nets_that_are_missing(
    attempt, sampled, world, tmp_path, monkeypatch
):
    typed = (*WIDE, f"hydra.searchpath=[file://{world}/my_conf]", "initializer=mine")
    assert attempt(*typed, "hydra.run.dir=whole")[0] == 0
    monkeypatch.setenv("INTERRUPT_AT", str(sys.modules["users"].drawn + 60))  # two layers a net
    sampled.clear()
    status, output, errors = attempt(*typed, "hydra.run.dir=cut")
    assert (status, output) == (130, [])
    assert errors == ["interrupted: run the same command again to continue; what has been sampled is kept"]
    first_rows = rows(tmp_path / "cut")
    assert 0 < len(first_rows) == sum(sampled) < 60
    assert RunDirectory(tmp_path / "cut").summary() is None
    other = attempt(*typed, "seed=1", "hydra.run.dir=cut")[2][0]
    assert other.startswith(f"error: hydra.run.dir = {tmp_path}/cut: already holds a run of another config (")
    sampled.clear()
    assert attempt(*typed, "hydra.run.dir=cut")[0] == 0
    assert sum(sampled) == 60 - len(first_rows)
    assert rows(tmp_path / "cut").equals(rows(tmp_path / "whole"))
    assert (tmp_path / "cut" / "layers.csv").read_bytes() == (tmp_path / "whole" / "layers.csv").read_bytes()


@pytest.mark.slow
def test_a_running_simulation_locks_its_directory_and_a_killed_one_can_be_resumed(attempt, world, tmp_path):
    where = f"hydra.run.dir={tmp_path}/cut"
    typed = (*WIDE, "nets=30", f"hydra.searchpath=[file://{world}/my_conf]", "initializer=mine")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    environment |= {"SLOWLY": "0.1", "PYTHONPATH": str(world)}  # 30 nets of two layers: 6 s
    process = forked.start(SCRIPT, *typed, where, env=environment)
    forked.wait_until(lambda: any((tmp_path / "cut" / "lengths").glob("part-*.parquet")), process)
    message = f"error: hydra.run.dir = {tmp_path}/cut: another process is writing a run here"
    assert attempt(*typed, where) == (1, [], [message])
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    first_rows = rows(tmp_path / "cut")
    assert first_rows["net"].tolist() == list(range(len(first_rows)))
    assert 0 < len(first_rows) < 30
    assert attempt(*typed, where)[0] == 0
    assert attempt(*typed, f"hydra.run.dir={tmp_path}/whole")[0] == 0
    assert rows(tmp_path / "cut").equals(rows(tmp_path / "whole"))


def test_a_simulation_interrupted_after_its_last_net_is_finished_without_sampling(simulation, sampled, tmp_path):
    run = RunDirectory(shutil.copytree(simulation, tmp_path / "run"))
    summary = run.summary()
    for file in (run.summary_file, run.path / "layers.csv", run.figures / "lengths.png"):
        file.unlink()
    start("simulate", run.path, "logger=wandb")
    assert sampled == []
    assert (run.figures / "lengths.png").exists()
    kinds = {key: value for key, value in logged(records(run.path)).items() if key.endswith("_type")}
    assert kinds == {"lengths._type": "image-file", "layers._type": "table-file"}
    differing = {"seconds": 0, "overrides": []}
    assert run.summary() | differing == summary | differing


@pytest.mark.slow
def test_a_users_architecture_and_initializer_are_simulated_from_outside_the_repository(world, tmp_path):
    typed = (f"hydra.searchpath=[file://{world}/my_conf]", "model=bottleneck", "initializer=mine,he_normal")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    words = ("-m", *typed, "nets=200", "logger=csv", "progress=false")
    ended = forked.run(SCRIPT, *words, cwd=tmp_path, env={**environment, "PYTHONPATH": str(world)})
    assert (ended.returncode, ended.stderr) == (0, "")
    directories = sorted(tmp_path.glob("runs/simulations/*/"))
    assert len(directories) == 2
    for directory in directories:
        summary, layers = RunDirectory(directory).summary(), pd.read_csv(directory / "layers.csv")
        assert (summary["sampler"], summary["layers"]) == ("vectorized", ["input", "net.2"])
        assert abs(layers["log_mean"][1]) < 4 * layers["log_mean_error"][1]  # both initializers follow He's law


DRAWN: list[pd.DataFrame] = []
SWEEP = ("-m", *SMALLEST, "hydra.sweep.dir=sweep", f"figure={{_target_:{__name__}.draw}}")


def draw(table: pd.DataFrame) -> Figure:
    DRAWN.append(table)
    return Figure()


@pytest.fixture
def drawn() -> list[pd.DataFrame]:
    """The tables that the figure of the sweep was drawn from."""
    DRAWN.clear()
    return DRAWN


def test_a_multirun_skips_finished_simulations_and_draws_all_of_them(attempt, sampled, drawn, tmp_path):
    status, output, errors = attempt(*SWEEP, "seed=0,1")
    assert (status, errors) == (0, [])
    assert output[-1] == "figure: sweep/figure.png, sweep/figure.pdf, sweep/figure.csv"
    summaries = {
        path.parent.name: RunDirectory(path.parent).summary() for path in tmp_path.glob("sweep/*/summary.json")
    }
    assert len(summaries) == 2
    assert all(name == summary["config_hash"] for name, summary in summaries.items())
    before = state(tmp_path / "sweep")
    assert attempt(*SWEEP, "seed=0,1,2", "model.depth=3")[0] == 0  # a third seed, and two finished ones
    assert sum(sampled) == 3 * 50
    after = state(tmp_path / "sweep")
    assert all(after[path] == when for path, when in before.items() if path.parent.parent.name == "sweep")
    assert [table["seed"].unique().tolist() for table in drawn] == [["0", "1"], ["0", "1", "2"]]
    table = pd.read_csv(tmp_path / "sweep" / "figure.csv")
    layers = [pd.read_csv(path) for path in tmp_path.glob("sweep/*/layers.csv")]
    assert sorted(table["log_mean"]) == sorted(pd.concat(layers)["log_mean"])


def test_an_experiment_of_another_script_is_refused_before_anything_runs(attempt, tmp_path):
    message = "error: script = simulate: this experiment runs with the command simulate, not with train"
    status, output, errors = attempt("experiment=hanin_rolnick/figure_1a", "logger=csv", command="train")
    assert (status, output, errors) == (1, [], [message])
    assert not list(tmp_path.rglob("summary.json"))
