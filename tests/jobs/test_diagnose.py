"""scripts/diagnose.py: its exit status, what it prints, what it leaves behind, and a line for each mistake."""

import json
import os

import pytest
import torch

from scripts.diagnose import main
from src.diagnosis.diagnose import Diagnosis
from src.jobs.composed import plain
from src.jobs.diagnose import batch_of, diagnose_config, thresholds_of
from src.theory.verdict import DEFAULTS
from tests import forked
from tests.jobs.composing import composed_of
from tests.jobs.conftest import CONF

SCRIPT = CONF.parent / "scripts" / "diagnose.py"


@pytest.fixture
def attempt(shell):
    """Call the script as the shell would, in an empty directory: exit status, and lines on stdout and stderr."""
    return lambda *arguments: shell(SCRIPT, main, *arguments)


TORCHS = "initializer=torch_default initializer._target_=torch.nn.init"
CASES = [
    ("", True),
    ("model.depth=20 initializer=torch_default", False),
    ("model.depth=100 model.width=10", False),
    ("model.depth=100 model.width=100 nets=3", True),
    ("model.depth=60 model.width=60 initializer=he_truncated_normal", False),
    ("model=residual model.modules=30 model.scales=constant", False),
    ("model=residual model.modules=30", True),
    ("model.depth=20 initializer=torch_default thresholds.drift=50", True),
    ("datamodule=random_inputs readout_initializer=glorot_normal samples=100 seed=3", True),
    ("model.activation=tanh modules=[hidden.*.linear]", True),
    (f"{TORCHS}.kaiming_normal_ model.depth=40", True),
    (f"{TORCHS}.xavier_normal_ model.depth=40", False),
]


def diagnosis_of(typed: str) -> Diagnosis:
    return diagnose_config(plain(composed_of("diagnose", *typed.split())))


@pytest.mark.parametrize(("typed", "healthy"), CASES, ids=[typed for typed, _ in CASES])
def test_a_net_is_healthy_or_not(typed, healthy):
    assert diagnosis_of(typed).healthy is healthy


@pytest.mark.parametrize(("typed", "status"), [("nets=5", 0), ("model.depth=20 initializer=torch_default", 3)])
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
    assert thresholds_of(plain(composed_of("diagnose"))["thresholds"]) == DEFAULTS
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
    sick = diagnosis_of(" ".join(typed))
    assert not sick.healthy
    kept = {override.split("=")[0]: override for override in typed}
    kept |= {override.split("=")[0]: override for advice in sick.advice for override in advice.overrides}
    cured = diagnosis_of(" ".join(kept.values()))
    assert cured.healthy
    assert cured.measured.healthy


def test_so_it_is_in_a_process(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    ended = forked.run(SCRIPT, "model.depth=90", "model.width=9", cwd=tmp_path, env=kept)
    assert (ended.returncode, ended.stderr) == (3, "")
    assert list(tmp_path.iterdir()) == []
