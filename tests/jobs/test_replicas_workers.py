"""Groups on many workers: launchers train them, signals end them with checkpoints, and no job has two trainers."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from src.runs.directory import RunDirectory
from src.runs.sweep import read_jobs
from tests.jobs import traced_train
from tests.jobs.conftest import SMALL
from tests.jobs.test_launchers import start, statuses, sweep, wait_until
from tests.jobs.test_sweep import summaries, untouched

REPLICAS = "hydra/launcher=replicas"
PROCESS = (REPLICAS, "hydra.launcher.inner=process", "+hydra.launcher.settings.jobs=2")
JOBLIB = (REPLICAS, "hydra.launcher.inner=joblib", "+hydra.launcher.settings.n_jobs=2")
SUBMITIT = (REPLICAS, "hydra.launcher.inner=submitit_local")
LONG = ("seed=0,1,2", "model.depth=2,3", "trainer.max_epochs=300")  # some ten seconds
STEPS = 300 * 11


def left_over(sweep: Path) -> list[str]:
    """What lies in a sweep's directory besides runs, its list of jobs and submitit's folder."""
    return [path.name for path in sweep.iterdir() if not (path / "config.yaml").exists()
            and path.name not in ("jobs.json", ".submitit")]  # fmt: skip


def training(sweep: Path) -> set[Path]:
    """The runs that have begun."""
    return {path.parent for path in sweep.glob("*/config.yaml")}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [PROCESS, JOBLIB, SUBMITIT], ids=["process", "joblib", "submitit"])
def test_every_launcher_trains_groups_and_single_jobs(tmp_path, launcher):
    jobs = (*launcher, "seed=0,1", "model.depth=2,3", "trainer.max_epochs=1", "logger=wandb")
    first = sweep(tmp_path / "a-sweep", *jobs)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("group  jobs  net")
    assert "replicas: 4 jobs in 2 groups" in first.stdout
    assert statuses(tmp_path / "a-sweep") == ["completed"] * 4
    assert left_over(tmp_path / "a-sweep") == []
    before = untouched(tmp_path / "a-sweep")
    single = "+trainer.limit_train_batches=1.0,5"  # makes jobs on their own
    again = sweep(tmp_path / "a-sweep", *launcher, "seed=5", "model.depth=0,2", "trainer.max_epochs=1", single)
    assert again.returncode == 1, again.stderr
    assert statuses(tmp_path / "a-sweep") == ["completed"] * 6 + ["failed"] * 2
    assert again.stderr.count("model.depth = 0: must be a whole number") >= 2
    assert "Traceback" not in again.stderr
    assert before.items() <= untouched(tmp_path / "a-sweep").items()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(REPLICAS,), PROCESS, JOBLIB], ids=["basic", "process", "joblib"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_groups_with_checkpoints_that_the_same_command_goes_on_from(tmp_path, launcher, signum):
    process = start(tmp_path, *launcher, *LONG)
    wait_until(lambda: len(training(tmp_path)) == (3 if launcher == (REPLICAS,) else 6), process)
    time.sleep(1)
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == f"go on: the same command with hydra.sweep.dir={tmp_path}"
    assert "resume with" not in errors
    assert set(statuses(tmp_path)) <= {"interrupted", "completed"} and "interrupted" in statuses(tmp_path)
    assert left_over(tmp_path) == []
    again = sweep(tmp_path, *launcher, *LONG)
    assert again.returncode == 0, again.stderr
    assert "from step" in again.stdout
    assert_whole(tmp_path)


def assert_whole(sweep: Path) -> None:
    """Every job that the sweep was asked for completed, and each of its steps is told of once."""
    found = summaries(sweep)
    assert found.keys() == {job.directory for job in read_jobs(sweep)}
    assert {(summary["status"], summary["steps"]) for summary in found.values()} == {("completed", STEPS)}
    for name in found:
        assert pd.read_parquet(sweep / name / "steps")["step"].tolist() == list(range(STEPS))


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """Start a sweep whose processes leave a trace. None outlives the test."""
    started: list[subprocess.Popen] = []
    script = tmp_path / "scripts" / traced_train.NAME
    script.parent.mkdir()
    source = Path(traced_train.__file__).read_text()
    script.write_text(source.replace("Path(__file__).parents[2]", f"Path({str(Path(__file__).parents[2])!r})"))
    (tmp_path / "trace").mkdir()
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*overrides: str, **environment: str) -> subprocess.Popen:
        command = [sys.executable, str(script), "-m", *SMALL, f"hydra.sweep.dir={tmp_path / 'sweep'}", *overrides]
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, start_new_session=True)  # fmt: skip
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def traces(tmp_path: Path) -> dict[str, Counter]:
    """How often each event came in each run directory."""
    files = (tmp_path / "trace").iterdir()
    return {file.name: Counter(each["event"] for each in traced_train.events(file)) for file in files}


@pytest.mark.slow
def test_no_job_ever_has_two_trainers_and_each_finishes_once_whoever_is_killed(tmp_path, traced):
    generator = random.Random(0)
    for whose in ("launcher", "worker"):
        # a launcher that finds every job with the other ends at once, so that a worker's end needs workers of both
        other = (REPLICAS,) if whose == "launcher" else PROCESS
        processes = [traced(*launcher, *LONG) for launcher in (PROCESS, other)]
        wait_until_more(lambda: len(list(tmp_path.glob("sweep/*/lengths/*.parquet"))), processes)
        time.sleep(generator.uniform(0, 1))
        if whose == "worker":
            os.kill(generator.choice(sorted(trainers(tmp_path))), signal.SIGKILL)
            time.sleep(generator.uniform(0, 2))
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
            time.sleep(generator.uniform(0, 2))
    assert not set(statuses(tmp_path / "sweep")) & {"failed", "interrupted"}
    processes = [traced(*PROCESS, *LONG) for _ in range(2)]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert_whole(tmp_path / "sweep")
    for leftover in left_over(tmp_path / "sweep"):  # of launchers that were killed
        shutil.rmtree(tmp_path / "sweep" / leftover)
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {*summaries(tmp_path / "sweep"), "jobs.json"}
    found = traces(tmp_path)
    assert len(found) == 6
    assert sum((events for events in found.values()), Counter())["begin"] > 6  # some were cut off
    for events in found.values():
        assert (events["overlap"], events["again"]) == (0, 0)
        assert events["completed"] == 1


def trainers(tmp_path: Path) -> set[int]:
    """The processes that train, now."""
    return set().union(*(traced_train.writers(file) for file in (tmp_path / "trace").iterdir()))


def wait_until_more(count, processes: list[subprocess.Popen]) -> None:
    before, deadline = count(), time.monotonic() + 120
    while count() <= before:
        assert any(process.poll() is None for process in processes), [each.stdout.read() for each in processes]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_without_locks_the_trace_tells_of_two_trainers(tmp_path, traced):
    """What the test above would find if nothing kept workers apart."""
    processes = [traced(REPLICAS, *LONG, UNLOCKED="yes") for _ in range(2)]
    for process in processes:
        process.communicate(timeout=240)
    assert sum((events for events in traces(tmp_path).values()), Counter())["overlap"] > 0


@pytest.mark.slow
def test_jobs_end_with_their_launcher_when_it_is_killed(tmp_path):
    process = start(tmp_path, *PROCESS, *LONG)
    wait_until(lambda: len(training(tmp_path)) == 6, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 20
    for job in read_jobs(tmp_path):
        while (state := RunDirectory(tmp_path / job.directory).state) == "running":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert state in ("killed", "completed")
