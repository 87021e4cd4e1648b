"""scripts/range_test.py: suggested rates over seeds, sweeps, figures, interruption and resuming."""

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
    """Run the command in a sweep directory with a small net; returns status, output and errors."""

    def call(*overrides: str, sweep: str = "sweep") -> tuple[int, list[str], list[str]]:
        return shell("range_test", *SMALLEST, f"hydra.sweep.dir={sweep}", *overrides)

    return call


def runs(sweep: Path) -> dict[str, RunDirectory]:
    """Runs by their overrides, without the overrides that make tests quick."""
    existing = [RunDirectory(path.parent) for path in sweep.glob("*/summary.json")]
    typed = [override.replace("=false", "=False") for override in SMALLEST]  # as Hydra repeats it
    return {
        " ".join(override for override in run.summary()["overrides"] if override not in typed): run for run in existing
    }


def interrupting_loss(logits: torch.Tensor, targets: torch.Tensor, *, flag: str, looks: int) -> torch.Tensor:
    """Cross-entropy that sends SIGINT in validation number `looks` while the file `flag` exists."""
    if Path(flag).exists():
        Path(flag).write_text(Path(flag).read_text() + ".")
        if len(Path(flag).read_text()) == looks:
            os.kill(os.getpid(), signal.SIGINT)
    return cross_entropy(logits, targets)


def test_the_command_gives_a_rate_with_its_spread_over_three_seeds(shell, tmp_path):
    status, output, errors = shell("range_test", *SMALLEST)
    assert (status, errors) == (0, [])
    [sweep] = (tmp_path / "runs" / "range_tests").iterdir()
    existing = runs(sweep)
    assert sorted(existing) == ["seed=0", "seed=1", "seed=2"]
    rates = [run.summary()["range_test"]["max_lr"] for run in existing.values()]
    assert len(set(rates)) == 3
    assert {run.summary()["steps"] for run in existing.values()} == {0}  # no run has trained
    [answer] = json.loads((sweep / "range_test.json").read_text())["configurations"]
    assert answer["max_lr"] == pytest.approx(np.median(rates))
    assert (answer["max_lr_low"], answer["max_lr_high"]) == pytest.approx((min(rates), max(rates)))
    assert answer["octaves"] == pytest.approx(np.log2(max(rates) / min(rates)))
    assert answer["min_lr"] == pytest.approx(answer["max_lr"] / 10)
    assert output[-2].startswith("next: uv run python scripts/train.py model.depth=3")
    assert output[-2].endswith(f"optimizer.lr={answer['max_lr']:.2g} schedule=one_cycle")


@pytest.mark.slow
def test_a_repeated_command_runs_only_new_jobs(start, tmp_path, monkeypatch):
    start("seed=0,1")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "sweep").glob("*/range_test/*")}
    with monkeypatch.context() as patch:  # finished jobs are not checked
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


def fail(message: str) -> None:
    raise ValueError(message)


@pytest.mark.slow
def test_ctrl_c_within_a_test_ends_the_sweep_and_the_same_command_resumes_it(start, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    target = f"{interrupting_loss.__module__}.{interrupting_loss.__name__}"
    loss = f"+callbacks.range_test.loss={{_target_:{target},_partial_:true,flag:{flag},looks:30}}"  # 20 per run
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
    columns = ["seed", "step", "learning_rate", "train_loss", "val_loss", "val_accuracy", "max_lr"]
    pd.testing.assert_frame_equal(one[columns], other[columns], check_exact=True)


def test_a_mistake_in_all_jobs_is_reported_once_before_any_job_begins(start, tmp_path):
    message = "error: optimizer.momentum = 1.5: must be a fraction, at least 0 and below 1"
    assert start("optimizer.momentum=1.5", "seed=0,1") == (1, [], [message])
    assert not list((tmp_path / "sweep").glob("*"))
    status, _, errors = start("datamodule.batch_size=5000", "seed=0,1")
    assert (status, len(errors)) == (1, 2 + 2 + 1)  # two jobs, two lines of the summary, and how to resume
    assert errors[0] == errors[1]
    assert not list((tmp_path / "sweep").glob("range_test.*"))
