"""scripts/range_test.py: rates with their spread from one command, swept, overlaid, cut off and gone on with."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from start_training.runs.directory import RunDirectory
from tests.composing import QUICK

SMALLEST = QUICK["range_test"]


@pytest.fixture
def start(shell, tmp_path):
    """Start the script in a sweep directory, on a small net: its status, output and errors."""

    def call(*overrides: str, sweep: str = "sweep") -> tuple[int, list[str], list[str]]:
        return shell("range_test", *SMALLEST, f"hydra.sweep.dir={sweep}", *overrides)

    return call


def runs(sweep: Path) -> dict[str, RunDirectory]:
    """By their overrides, but for those that make tests quick."""
    found = [RunDirectory(path.parent) for path in sweep.glob("*/summary.json")]
    typed = [each.replace("=false", "=False") for each in SMALLEST]  # as Hydra repeats it
    return {" ".join(each for each in run.summary()["overrides"] if each not in typed): run for run in found}


def interrupting_loss(logits: torch.Tensor, targets: torch.Tensor, *, flag: str, looks: int) -> torch.Tensor:
    """Cross entropy, that sends Ctrl-C at the so-manieth look at validation data while there is a file `flag`."""
    if Path(flag).exists():
        Path(flag).write_text(Path(flag).read_text() + ".")
        if len(Path(flag).read_text()) == looks:
            os.kill(os.getpid(), signal.SIGINT)
    return cross_entropy(logits, targets)


def test_alone_it_gives_a_rate_with_its_spread_over_three_seeds(shell, tmp_path):
    status, output, errors = shell("range_test", *SMALLEST)
    assert (status, errors) == (0, [])
    [sweep] = (tmp_path / "runs" / "range_tests").iterdir()
    found = runs(sweep)
    assert sorted(found) == ["seed=0", "seed=1", "seed=2"]
    rates = [run.summary()["range_test"]["max_lr"] for run in found.values()]
    assert len(set(rates)) == 3
    assert {run.summary()["steps"] for run in found.values()} == {0}  # none has trained
    [answer] = json.loads((sweep / "range_test.json").read_text())["configurations"]
    assert answer["max_lr"] == pytest.approx(np.median(rates))
    assert (answer["max_lr_low"], answer["max_lr_high"]) == pytest.approx((min(rates), max(rates)))
    assert answer["octaves"] == pytest.approx(np.log2(max(rates) / min(rates)))
    assert answer["min_lr"] == pytest.approx(answer["max_lr"] / 10)
    assert output[-2].startswith("next: uv run python scripts/train.py model.depth=3")
    assert output[-2].endswith(f"optimizer.lr={answer['max_lr']:.2g} schedule=one_cycle")


def test_started_again_it_tests_only_what_is_new(start, tmp_path, monkeypatch):
    start("seed=0,1")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "sweep").glob("*/range_test/*")}
    with monkeypatch.context() as patch:  # jobs that have finished are not looked at for mistakes
        patch.setattr(
            "start_training.launchers.sweep.check_settings",
            lambda config: fail("datamodule.folder = 'gone': no directory"),
        )
        assert start("seed=0,1")[0] == 0
        assert start("seed=2") == (1, [], ["error: datamodule.folder = 'gone': no directory"])
    assert start("seed=0,1,2")[1][0] == "sweep sweep: 3 jobs, 2 already finished, 0 to resume, 0 failed before, 1 new"
    after = {file: file.stat().st_mtime_ns for file in (tmp_path / "sweep").glob("*/range_test/*")}
    assert before.items() <= after.items()
    [answer] = json.loads((tmp_path / "sweep" / "range_test.json").read_text())["configurations"]
    assert answer["tests"] == 3


def fail(said: str) -> None:
    raise ValueError(said)


def test_ctrl_c_in_a_ramp_ends_the_sweep_and_the_same_command_goes_on(start, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    target = f"{interrupting_loss.__module__}.{interrupting_loss.__name__}"
    loss = f"+callbacks.range_test.loss={{_target_:{target},_partial_:true,flag:{flag},looks:30}}"  # of 20 each
    status, _, errors = start("seed=0,1,2", loss)
    assert status == 130
    assert errors[-1] == "to resume: repeat the command with hydra.sweep.dir=sweep"
    states = {run.summary()["overrides"][0]: run.summary()["status"] for run in runs(tmp_path / "sweep").values()}
    assert states == {"seed=0": "completed", "seed=1": "interrupted"}
    assert not list((tmp_path / "sweep").glob("*.png"))
    flag.unlink()
    assert start("seed=0,1,2", loss)[0] == 0
    start("seed=0,1,2", sweep="whole")
    one, other = (pd.read_csv(tmp_path / name / "range_test.csv") for name in ("sweep", "whole"))
    own = ["seed", "step", "learning_rate", "train_loss", "val_loss", "val_accuracy", "max_lr"]
    pd.testing.assert_frame_equal(one[own], other[own], check_exact=True)


def test_what_is_wrong_with_every_job_is_said_once_and_nothing_begins_unless_only_data_tell(start, tmp_path):
    said = "error: optimizer.momentum = 1.5: must be a fraction, at least 0 and below 1"
    assert start("optimizer.momentum=1.5", "seed=0,1") == (1, [], [said])
    assert not list((tmp_path / "sweep").glob("*"))
    status, _, errors = start("datamodule.batch_size=5000", "seed=0,1")
    assert (status, len(errors)) == (1, 2 + 2 + 1)  # each job's, the summary's, and how to go on
    assert errors[0] == errors[1]
    assert not list((tmp_path / "sweep").glob("range_test.*"))
