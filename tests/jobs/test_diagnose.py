"""scripts/diagnose.py: its exit status, what it prints, what it leaves behind, and a line for each mistake."""

import json
import os
import subprocess
import sys

import pytest
import torch
from hydra import compose, initialize_config_dir

from scripts.diagnose import main
from src.jobs.command_line import run
from src.jobs.composed import plain
from src.jobs.diagnose import batch_of, diagnose_config, thresholds_of
from src.theory.verdict import DEFAULTS
from tests.jobs.conftest import CONF

SCRIPT = CONF.parent / "scripts" / "diagnose.py"


@pytest.fixture
def attempt(tmp_path, capfd, monkeypatch):
    """Call the script as the shell would, in an empty directory: exit status, and lines on stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_MAIN_MODULE", "__main__")  # as a script, which finds conf/ beside itself

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        with pytest.raises(SystemExit) as end:
            run(main)
        output, errors = capfd.readouterr()
        return end.value.code, output.splitlines(), errors.splitlines()

    return call


CASES = [
    ("", 0),
    ("model.depth=20 initializer=torch_default", 3),
    ("model.depth=100 model.width=10", 3),
    ("model.depth=100 model.width=100 nets=3", 0),
    ("model.depth=60 model.width=60 initializer=he_truncated_normal", 3),
    ("model=residual model.modules=30 model.scales=constant", 3),
    ("model=residual model.modules=30", 0),
    ("model.depth=20 initializer=torch_default thresholds.drift=50", 0),
    ("datamodule=random_inputs readout_initializer=glorot_normal samples=100 seed=3", 0),
    ("model.activation=tanh modules=[hidden.*.linear]", 0),
    ("initializer=torch_default initializer._target_=torch.nn.init.kaiming_normal_ model.depth=40", 0),
    ("initializer=torch_default initializer._target_=torch.nn.init.xavier_normal_ model.depth=40", 3),
]


@pytest.mark.parametrize(("typed", "status"), CASES, ids=[typed for typed, _ in CASES])
def test_the_exit_status_is_the_verdict_and_nothing_is_left_behind(attempt, tmp_path, typed, status):
    ended, output, errors = attempt(*typed.split())
    assert (ended, errors) == (status, [])
    assert any(line.strip().startswith("HEALTHY" if status == 0 else "UNHEALTHY: FM") for line in output)
    assert any(line.startswith("What to change") for line in output) == (status == 3)
    assert list(tmp_path.iterdir()) == []


def test_a_multirun_says_each_and_ends_with_the_worst(attempt):
    status, output, errors = attempt("-m", "initializer=he_normal,torch_default", "model.depth=20")
    assert (status, errors) == (3, [])
    heads = [line.split(":")[0] for line in output if "HEALTHY" in line]
    assert heads == ["HEALTHY", "UNHEALTHY"]
    assert "initializer=he_normal model.depth=20" in output
    assert attempt("-m", "seed=0,1")[0] == 0


def test_a_mistake_in_a_multirun_is_said_once_and_is_the_status(attempt):
    status, output, errors = attempt("-m", "model.depth=0,5")
    assert status == 1
    assert errors[0] == "error: model.depth = 0: must be a whole number of at least 1"
    assert any(line.startswith("HEALTHY") for line in output)


def test_the_numbers_are_written_where_they_are_wanted(attempt, tmp_path):
    status, _, _ = attempt("model.depth=20", "initializer=torch_default", "out=verdict.json", "nets=3")
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert status == 3
    assert written["failure_modes"] == ["FM1"]
    assert (written["by"], written["nets"], len(written["layers"])) == ("theory", 3, 21)
    assert written["measured"]["backward"] == pytest.approx(-1.79, abs=0.1)
    assert len(written["forward"]) == len(written["backward"]) == 20
    assert written["advice"][0]["overrides"] == ["initializer=he_normal"]


WHOLE = "must be a whole number of at least"
MISTAKES = [
    ("nets=1", f"nets = 1: {WHOLE} 2"),
    ("nets=many", f"nets = 'many': {WHOLE} 2"),
    ("samples=0", f"samples = 0: {WHOLE} 1"),
    ("samples=5000", "samples = 5000: larger than the 1293 training samples"),
    ("seed=-1", f"seed = -1: {WHOLE} 0"),
    ("thresholds.drift=-1", "thresholds.drift = -1: must be a number above 0"),
    ("thresholds.dead=2", "thresholds.dead = 2: must be a fraction, at least 0 and below 1"),
    ("+thresholds.spread=2", "thresholds.spread = 2: no such setting; there are beta, dead, drift, normalized"),
    ("thresholds=2", "thresholds = 2: must be set one by one, as thresholds.drift="),
    ("modules=[conv*]", "modules = 'conv*': matches none of hidden, "),
    ("modules=relu", "modules = 'relu': must be a list of name patterns"),
    ("model.depth=0", f"model.depth = 0: {WHOLE} 1"),
    ("model=residual model.modules=0", f"model.modules = 0: {WHOLE} 1"),
    ("initializer=he", "initializer = he: no such option; there are critical, glorot_normal, "),
    ("optimizer=sgd", "Could not override 'optimizer'. "),
    ("out=nowhere/verdict.json", "nowhere/verdict.json: No such file or directory"),
    (
        "model._target_=tests.jobs.test_diagnose.Flat",
        "Flat: has neither activation modules nor modules with weights to measure",
    ),
]


class Flat(torch.nn.Module):
    """Nothing to measure."""

    def __init__(self, input_size, classes, **settings):
        super().__init__()
        self.flat = torch.nn.Flatten()


@pytest.mark.parametrize(("typed", "expected"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_one_line(attempt, tmp_path, typed, expected):
    status, output, errors = attempt(*typed.split())
    assert (status, output) == (1, [])
    [line] = errors
    assert line.startswith(f"error: {expected}")
    assert list(tmp_path.iterdir()) == []


class OtherDataModule:
    """Of a user: batches of inputs and targets."""

    def prepare_data(self):
        self.prepared = True

    def setup(self, stage):
        assert self.prepared and stage == "fit"

    def train_dataloader(self):
        return [(torch.arange(6.0).reshape(6, 1), torch.zeros(6))]


def test_a_batch_comes_from_any_datamodule():
    assert batch_of(OtherDataModule(), 4, 0).flatten().tolist() == [0, 1, 2, 3]


def test_thresholds_that_are_not_set_are_the_defaults():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = plain(compose("diagnose"))
    assert thresholds_of(config["thresholds"]) == DEFAULTS
    assert thresholds_of({"drift": None, "beta": 7}).beta == 7


@pytest.mark.parametrize(
    "typed",
    [
        ["model.depth=20", "initializer=torch_default"],
        ["model.depth=100", "model.width=10"],
        ["model.depth=100", "model.width=10", "initializer=lecun_normal"],
        ["model=residual", "model.modules=30", "model.scales=constant"],
        ["model=residual", "model.modules=3", "model.width=1", "model.module_widths=[1,1]", "datamodule=random_inputs"],
    ],
    ids=" ".join,
)
def test_the_advice_typed_in_makes_the_net_healthy(typed):
    def diagnosis(*overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return diagnose_config(plain(compose("diagnose", list(overrides))))

    sick = diagnosis(*typed)
    assert not sick.healthy
    kept = {override.split("=")[0]: override for override in typed}
    kept |= {override.split("=")[0]: override for advice in sick.advice for override in advice.overrides}
    cured = diagnosis(*kept.values())
    assert cured.healthy
    assert cured.measured.healthy


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "status"), [("nets=3", 0), ("model.depth=90 model.width=9", 3), ("nets=1", 1)])
def test_so_it_is_in_a_shell(tmp_path, typed, status):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    command = [sys.executable, str(SCRIPT), *typed.split()]
    ended = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == status
    assert ended.stderr == ("" if status != 1 else f"error: nets = 1: {WHOLE} 2\n")
    assert list(tmp_path.iterdir()) == []
