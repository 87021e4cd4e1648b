"""A sweep goes on where it stopped, does no work twice, and says at its end what became of its jobs."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from scripts.train import main
from src.jobs.draw import draw_sweep
from src.runs.directory import RunDirectory
from src.runs.sweep import read_jobs
from src.runs.sweep_table import sweep_table
from tests.jobs.conftest import SMALL
from tests.jobs.same_run import assert_same_run

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


@pytest.fixture
def sweep(shell, tmp_path):
    """Start the same multirun again, with other overrides: its status, output and errors."""

    def call(*overrides: str) -> tuple[int, list[str], list[str]]:
        return shell(SCRIPT, main, "-m", *SMALL, "trainer.max_epochs=1", "hydra.sweep.dir=sweep", *overrides)

    return call


def summaries(sweep: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/summary.json")}


def untouched(sweep: Path) -> dict[Path, int]:
    """When each file of the finished jobs was last written."""
    finished = [run for run in sweep.iterdir() if run.is_dir() and RunDirectory(run).finished]
    return {file: file.stat().st_mtime_ns for run in finished for file in run.rglob("*") if file.name != ".lock"}


def test_starting_it_again_runs_only_what_is_new(sweep, tmp_path):
    assert sweep("seed=0,1")[0] == 0
    before = untouched(tmp_path / "sweep")
    status, output, errors = sweep("seed=0,1,2")
    assert (status, errors) == (0, [])
    assert output[0] == ("sweep sweep: 3 jobs, 2 finished before, 0 to go on with, 0 that failed, 1 new")
    [line] = [line for line in output if "steps in" in line]
    assert "seed=2: completed, test accuracy" in line
    after = untouched(tmp_path / "sweep")
    assert before and before.items() <= after.items()
    assert [job.overrides[-1] for job in read_jobs(tmp_path / "sweep")] == ["seed=0", "seed=1", "seed=2"]
    assert len(summaries(tmp_path / "sweep")) == 3


def test_a_job_asked_for_twice_runs_once(sweep, tmp_path):
    status, output, _ = sweep("seed=0,1", "datamodule.validation=0.1,0.10")
    assert status == 0
    assert len([line for line in output if "steps in" in line]) == len(summaries(tmp_path / "sweep")) == 2


def test_a_directory_that_two_jobs_would_share_is_refused(sweep, tmp_path):
    status, _, errors = sweep("seed=0,1", "hydra.sweep.subdir='depth-${model.depth}'")
    [line] = errors
    assert status == 1
    assert line.startswith("error: hydra.sweep.subdir = depth-3: is the directory of two jobs, ")
    assert "seed=0 and " in line and line.endswith("seed=1")
    assert not (tmp_path / "sweep").exists()


def test_what_does_not_determine_the_result_makes_no_new_job(sweep):
    assert sweep("seed=0")[0] == 0
    _, output, _ = sweep("seed=0", "trainer.enable_progress_bar=true", "trainer.num_nodes=1")
    assert output[0].startswith("sweep sweep: 1 jobs, 1 finished before")
    _, output, _ = sweep("seed=0", "optimizer.lr=0.02")  # this does
    assert output[0].startswith("sweep sweep:") is False


def test_a_failed_job_stops_no_other_is_told_of_and_begins_anew(sweep, tmp_path, monkeypatch):
    (tmp_path / "flaky.py").write_text(
        "import os, pytorch_lightning as pl\n"
        "class Flaky(pl.Callback):\n"
        "    def on_train_epoch_end(self, trainer, module):\n"
        "        if module.seed == 1 and 'BROKEN' in os.environ: raise RuntimeError('no luck')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("BROKEN", "yes")
    flaky = "+callbacks.flaky={_target_:flaky.Flaky}"
    status, output, errors = sweep("seed=0,1,2", flaky)
    assert status == 1
    assert [summary["status"] for _, summary in sorted(summaries(tmp_path / "sweep").items())].count("failed") == 1
    assert any("failed" in line and "1" in line for line in output)
    assert any(line.startswith("failed: ") and line.endswith("(RuntimeError: no luck)") for line in errors)
    assert any("Traceback" in line for line in errors)  # no mistake of a setting: where it happened is wanted
    before = untouched(tmp_path / "sweep")
    monkeypatch.delenv("BROKEN")
    status, output, errors = sweep("seed=0,1,2", flaky)
    assert (status, errors) == (0, [])
    assert "2 finished before, 0 to go on with, 1 that failed, 0 new" in output[0]
    assert before.items() <= untouched(tmp_path / "sweep").items()
    assert {summary["status"] for summary in summaries(tmp_path / "sweep").values()} == {"completed"}


def test_a_diverged_job_is_finished(sweep, tmp_path):
    assert sweep("optimizer.lr=1e30")[0] == 0
    assert sweep("optimizer.lr=1e30")[1][0].startswith("sweep sweep: 1 jobs, 1 finished before")


def test_a_signal_ends_a_sweep_and_the_same_command_goes_on_with_the_same_result(sweep, shell, tmp_path):
    at = "+callbacks.signal={_target_:tests.jobs.signalling.SignalAtStep,step:17}"
    long = ("trainer.max_epochs=2", "seed=0,1")
    status, _, errors = sweep(at, *long)
    assert status == 130
    assert errors[-1] == "go on: the same command with hydra.sweep.dir=sweep"
    assert [summary["status"] for summary in summaries(tmp_path / "sweep").values()] == ["interrupted"]
    for _ in range(2):  # each job meets the signal once
        status, _, _ = sweep(at, *long)
    assert status == 0
    assert {summary["steps"] for summary in summaries(tmp_path / "sweep").values()} == {22}


def test_a_job_that_another_process_runs_is_left_to_it(sweep, config, tmp_path):
    assert sweep("seed=0")[0] == 0
    [name] = summaries(tmp_path / "sweep")
    run = RunDirectory(tmp_path / "sweep" / name)
    run.begin(run.config())
    status, output, errors = sweep("seed=0,1")
    run.release()
    assert status == 0
    assert errors[0].endswith("another process is writing a run here")
    assert any("running" in line and "1" in line for line in output)
    assert len(summaries(tmp_path / "sweep")) == 1


def test_a_job_of_several_processes_is_refused_where_it_cannot_have_them(sweep, tmp_path):
    status, output, errors = sweep("seed=0", "trainer=ddp_cpu")
    assert (status, output) == (1, [])
    assert errors == [
        "error: trainer.devices = 2: with strategy = ddp a job needs a process tree of its own, which BasicLauncher "
        "cannot give it; add hydra/launcher=process"
    ]
    assert not summaries(tmp_path / "sweep")


def test_depth_is_no_setting_of_a_net_that_belongs_to_no_family(shell):
    status, _, [error] = shell(SCRIPT, main, *SMALL, "depth=50")
    assert (status, error) == (1, "error: depth = 50: is that of a family or an experiment; model.depth is the net's")


def start(directory: Path, *overrides: str) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), "-m", *SMALL, f"hydra.sweep.dir={directory}", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def kill_somewhere(process: subprocess.Popen, directory: Path, generator: random.Random) -> None:
    """SIGKILL, a random while after its first job has begun to write; unless it ends before."""
    there = len(list(directory.glob("*/lengths/*.parquet")))
    while process.poll() is None and len(list(directory.glob("*/lengths/*.parquet"))) == there:
        time.sleep(0.01)
    time.sleep(generator.uniform(0, 1.5))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "process"])
def test_a_sweep_killed_again_and_again_ends_as_one_left_alone(tmp_path, launcher):
    grid = ("seed=0,1,2", "optimizer.lr=0.01,1e30", "trainer.max_epochs=30", "callbacks=start_of_training")
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    output, _ = start(alone, *grid).communicate(timeout=300)
    assert len(summaries(alone)) == 6, output
    generator, done = random.Random(0), {}
    for _ in range(4):
        kill_somewhere(start(killed, *grid, f"hydra/launcher={launcher}"), killed, generator)
        now = untouched(killed)
        assert done.items() <= now.items()  # no finished job ran twice
        done = now
    process = start(killed, *grid, f"hydra/launcher={launcher}")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert done.items() <= untouched(killed).items()
    assert_same_sweep(alone, killed)


def assert_same_sweep(one: Path, other: Path) -> None:
    first, second = summaries(one), summaries(other)
    assert first.keys() == second.keys()
    for name in first:
        if first[name]["status"] == "completed":
            assert_same_run(one / name, other / name)
        else:
            for table in ("lengths", "steps"):
                frames = [pd.read_parquet(sweep / name / table) for sweep in (one, other)]
                pd.testing.assert_frame_equal(*frames, check_exact=True)
        assert (one / name / "figures/lengths.png").read_bytes() == (other / name / "figures/lengths.png").read_bytes()
        beside = {"seconds": 0, "commit": ""}  # which may gain a -dirty while the test runs
        assert {**first[name], **beside} == {**second[name], **beside}
    drawn = [draw_sweep(sweep, "start", by="optimizer.lr") for sweep in (one, other)]
    for first_file, second_file in zip(*drawn, strict=True):
        if first_file.suffix in (".png", ".pdf"):
            assert first_file.read_bytes() == second_file.read_bytes(), first_file.name
    tables = [sweep_table(sweep).drop(columns="seconds") for sweep in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
