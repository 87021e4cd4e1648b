"""Several processes: DDP gives what one process gives, and a multirun runs each job once, on all of its data."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.runs.directory import RunDirectory
from tests.jobs.conftest import SMALL
from tests.jobs.same_run import assert_same_run
from tests.jobs.test_wandb import records

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


def run(*overrides: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *flags, *SMALL, *overrides]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
def test_two_processes_record_and_learn_what_one_does(tmp_path):
    # 1293 samples in batches of 127: shares of 64 and 63, and a last batch of 23 split in 12 and 11
    overrides = ("datamodule.batch_size=127", "trainer.max_epochs=2", "datamodule.validation=0.1")
    for name, trainer in (("one", "cpu"), ("two", "ddp_cpu")):
        finished = run(*overrides, f"trainer={trainer}", f"hydra.run.dir={tmp_path / name}")
        assert finished.returncode == 0, finished.stderr
    one, two = (pd.read_parquet(tmp_path / name / "lengths") for name in ("one", "two"))
    assert one[["step", "layer", "name", "count"]].equals(two[["step", "layer", "name", "count"]])
    np.testing.assert_allclose(two["mean"], one["mean"], rtol=2e-4)
    np.testing.assert_allclose(two["variance"], one["variance"], rtol=2e-3)
    one, two = (pd.read_parquet(tmp_path / name / "steps") for name in ("one", "two"))
    for column in ("loss", "growth_rate", "layer_variance", "relative_layer_variance"):
        np.testing.assert_allclose(two[column], one[column], rtol=2e-3, atol=1e-5)
    one, two = (RunDirectory(tmp_path / name).summary() for name in ("one", "two"))
    assert two["config_hash"] == one["config_hash"]  # devices do not determine the result
    for name, value in one["metrics"].items():
        assert two["metrics"][name] == pytest.approx(value, rel=2e-3), name


@pytest.mark.slow
def test_two_processes_resume_where_they_were_interrupted(tmp_path):
    overrides = ("trainer=ddp_cpu", "model.dropout=0.1", "trainer.max_epochs=3")
    at = "+callbacks.signal={_target_:tests.jobs.signalling.SignalAtStep,step:17}"
    path = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    cut = subprocess.run(
        [sys.executable, str(SCRIPT), *SMALL, *overrides, at, f"hydra.run.dir={tmp_path / 'cut'}"],
        capture_output=True, text=True, timeout=240, check=False, env=path,
    )  # fmt: skip
    assert cut.returncode == 130, cut.stderr
    checkpoint = RunDirectory(tmp_path / "cut").checkpoint
    resumed = run(*overrides, f"hydra.run.dir={tmp_path / 'on'}", f"ckpt_path={checkpoint}")
    assert resumed.returncode == 0, resumed.stderr
    whole = run(*overrides, f"hydra.run.dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "on")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_multirun_of_mixed_device_counts_runs_each_job_once_on_all_of_its_data(tmp_path, jobs):
    overrides = ("trainer=ddp_cpu", "trainer.devices=1,2", "trainer.max_epochs=1", "datamodule.validation=0")
    launcher = ("hydra/launcher=process", f"hydra.launcher.jobs={jobs}", "logger=wandb")
    where = (f"hydra.sweep.dir={tmp_path}/sweep", "hydra.sweep.subdir=${hydra.job.num}")
    finished = run(*overrides, *launcher, *where, flags=("-m",))
    assert finished.returncode == 0, finished.stderr
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == ["0", "1"]
    for job in (tmp_path / "sweep" / "0", tmp_path / "sweep" / "1"):
        assert RunDirectory(job).summary()["status"] == "completed"
        lengths = pd.read_parquet(job / "lengths")
        assert lengths.groupby("layer")["count"].sum().unique().tolist() == [1437]
        assert len(list(job.glob("wandb/offline-run-*"))) == 1
        runs = [record.run for record in records(job) if record.WhichOneof("record_type") == "run"]
        assert {each.run_group for each in runs} == {"sweep"}


def test_a_multirun_gives_each_job_a_directory_and_goes_on_past_divergence_and_failure(tmp_path):
    finished = run("optimizer.lr=0.1,1e30", "model.depth=0,2", "trainer.max_epochs=1", "logger=wandb",
                   f"hydra.sweep.dir={tmp_path}/a-sweep", flags=("-m",))  # fmt: skip
    assert finished.returncode == 1
    assert "model.depth = 0" in finished.stderr
    assert "Traceback" not in finished.stderr
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("a-sweep/*/summary.json")]
    assert sorted(summary["status"] for summary in summaries) == ["completed", "diverged", "failed", "failed"]
    found = [records(path.parent) for path in tmp_path.glob("a-sweep/*/wandb")]
    runs = [record.run for job in found for record in job if record.WhichOneof("record_type") == "run"]
    assert {each.run_group for each in runs} == {"a-sweep"}
    assert len({each.display_name for each in runs}) == len(found) == 2
    assert {path.parent.name for path in tmp_path.glob("a-sweep/*/summary.json")} == {
        s["config_hash"] for s in summaries
    }


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_a_checkpoint_and_the_shells_status(tmp_path, signum):
    command = [sys.executable, str(SCRIPT), *SMALL, "trainer.max_epochs=100000", f"hydra.run.dir={tmp_path}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not RunDirectory(tmp_path).checkpoint.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, errors
    assert RunDirectory(tmp_path).summary()["status"] == "interrupted"
    assert "resume with ckpt_path=" in errors
    assert "Traceback" not in errors


def test_a_directory_that_a_run_is_writing_is_not_given_to_another(config, tmp_path):
    directory = RunDirectory(tmp_path)
    directory.begin(config())
    with pytest.raises(ValueError, match="another process is writing"):
        RunDirectory(tmp_path).begin(config())
    directory.release()
    again = RunDirectory(tmp_path)
    again.begin(config())
    again.release()
