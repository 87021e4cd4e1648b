"""The diagnose command: its exit status, its printed report, its JSON file, and its advice."""

import json

import pytest
import torch

from start_training.config.composed import plain
from start_training.diagnosis.diagnosis import Diagnosis
from start_training.studies.diagnose_config import batch_of, diagnose_config, thresholds_of
from start_training.theory.verdict import DEFAULTS
from tests.composing import composed_of


@pytest.fixture
def attempt(shell):
    """Call the script as the shell would, in an empty directory: exit status, and lines on stdout and stderr."""
    return lambda *arguments: shell("diagnose", *arguments)


def diagnosis_of(typed: str) -> Diagnosis:
    return diagnose_config(plain(composed_of("diagnose", *typed.split())))


@pytest.mark.parametrize(
    ("typed", "healthy"),
    [  # several kinds of models, every setting of the command, and an initializer of torch
        ("model=residual model.modules=30 model.scales=constant", False),
        ("model.depth=20 initializer=torch_default thresholds.drift=50 trial=false", True),
        ("datamodule=random_inputs readout_initializer=glorot_normal samples=100 seed=3 modules=[hidden.*]", True),
        pytest.param(
            "initializer=torch_default initializer._target_=torch.nn.init.xavier_normal_ model.depth=40",
            False,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_net_is_healthy_or_not(typed, healthy):
    assert diagnosis_of(typed).healthy is healthy


def test_fix_mends_the_net_and_writes_its_weights(attempt, tmp_path):
    words = ("model.depth=20", "initializer=torch_default", "nets=2")
    status, output, errors = attempt(*words, "fix=true", "weights=mended.pt")
    assert (status, errors) == (0, [])
    assert "UNHEALTHY → HEALTHY" in " ".join(line.strip() for line in output)
    assert "hidden.0.linear.weight" in torch.load(tmp_path / "mended.pt")
    assert attempt(*words, "weights=mended.pt")[2] == ["error: weights = mended.pt: is only used with fix=true"]


@pytest.mark.slow
def test_a_multirun_prints_every_verdict_and_exits_with_the_worst_status(attempt):
    status, output, errors = attempt("-m", "initializer=he_normal,torch_default", "model.depth=20")
    assert (status, errors) == (3, [])
    assert [line.split(":")[0] for line in output if "HEALTHY" in line] == ["HEALTHY", "UNHEALTHY"]
    status, output, errors = attempt("-m", "model.depth=0,5")
    assert (status, errors[0]) == (1, "error: model.depth = 0: must be a whole number of at least 1")
    assert any(line.startswith("HEALTHY") for line in output)


def test_the_exit_status_gives_the_verdict_and_the_numbers_are_written_to_the_file_out(attempt, tmp_path):
    status, output, errors = attempt("nets=5")
    assert (status, errors, list(tmp_path.iterdir())) == (0, [], [])
    assert any(line.strip().startswith("HEALTHY") for line in output)
    status, output, _ = attempt("model.depth=20", "initializer=torch_default", "out=verdict.json", "nets=3")
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert status == 3
    assert any(line.startswith("What to change") for line in output)
    assert (written["failure_modes"], written["by"], written["nets"]) == (["FM1"], "theory", 3)
    assert written["measured"]["backward"] == pytest.approx(-1.79, abs=0.1)
    assert (len(written["layers"]), len(written["forward"]), len(written["backward"])) == (21, 20, 20)
    assert written["advice"][0]["overrides"] == ["initializer=he_normal"]


class OtherDataModule:
    """A user's datamodule, with batches of inputs and targets."""

    def prepare_data(self):
        self.prepared = True

    def setup(self, stage):
        assert self.prepared and stage == "fit"

    def train_dataloader(self):
        return [(torch.arange(6.0).reshape(6, 1), torch.zeros(6))]


def test_a_batch_comes_from_any_datamodule():
    inputs, targets = batch_of(OtherDataModule(), 4, 0)
    assert inputs.flatten().tolist() == [0, 1, 2, 3] and targets.shape == (4,)


def test_a_wrong_threshold_is_named_in_full():
    for value in ("x", -1, 2**2000):
        with pytest.raises(ValueError, match=r"^thresholds\.drift = "):
            thresholds_of("thresholds", {"drift": value})


def test_thresholds_that_are_not_set_are_the_defaults():
    assert thresholds_of("thresholds", plain(composed_of("diagnose"))["thresholds"]) == DEFAULTS
    assert thresholds_of("thresholds", {"drift": None, "beta": 7}).beta == 7


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param(
            ["model.depth=100", "model.width=10", "initializer=lecun_normal"], marks=pytest.mark.slow, id="deep"
        ),
        [
            "model=residual",
            "model.modules=3",
            "model.width=1",
            "model.module_widths=[1,1]",
            "datamodule=random_inputs",
            "trial=false",
        ],
    ],
    ids=" ".join,
)
def test_a_net_with_the_advised_overrides_is_healthy(typed):
    sick = diagnosis_of(" ".join(typed))
    assert sick.failure_modes
    overrides = {override.split("=")[0]: override for override in typed}
    overrides |= {override.split("=")[0]: override for advice in sick.advice for override in advice.overrides}
    cured = diagnosis_of(" ".join(overrides.values()))
    assert not cured.failure_modes
    assert cured.measured.healthy


OWN = """
import torch
from torch import nn

def build():
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))

def fails():
    raise RuntimeError("my problem")

def batch():
    return torch.randn(16, 8), torch.arange(16) % 8

number = 3
"""
OF_OWN = ("batch=own_pkg.nets:batch", "trial=false", "nets=2")


def test_a_net_of_a_package_in_the_working_directory_is_diagnosed(attempt, tmp_path, monkeypatch):
    (tmp_path / "own_pkg").mkdir()
    (tmp_path / "own_pkg" / "nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    chosen = ("loss=cross_entropy", "optimizer=adam", "plot=x.png", "out=x.json")
    status, output, errors = attempt("net=own_pkg.nets:build", *OF_OWN, *chosen)
    assert (status, errors) == (0, []) and any(line.startswith("HEALTHY") for line in output)
    assert (tmp_path / "x.png").stat().st_size > 1000
    assert list(json.loads((tmp_path / "x.json").read_text())["starts"]) == ["adam"]
    for typed, message in {
        "net=own_pkg.nets:nothing": "net = own_pkg.nets:nothing: cannot be imported",
        "net=own_pkg.none:build": "net = own_pkg.none:build: cannot be imported",
        "net=own_pkg.nets": "net = own_pkg.nets: must be package.module:attribute",
        "net=own_pkg.nets:number": "net = own_pkg.nets:number: must be a torch.nn.Module or return one, not int",
        "net=own_pkg.nets:fails": "net = own_pkg.nets:fails: fails when called without arguments (RuntimeError: my",
        "plot=x.gif": "plot = x.gif: must end in .png or .pdf",
    }.items():
        status, _, errors = attempt("net=own_pkg.nets:build", *OF_OWN, typed)
        assert status == 1 and errors[0].startswith(f"error: {message}"), typed
