"""Groups on many workers: launchers train them, signals end them with checkpoints, and no job has two trainers."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from src.runs.sweep import read_jobs
from tests.forked import ROOT, Forked, wait_until
from tests.jobs import traced_train
from tests.jobs.sweeps import left_over, start, statuses, summaries, sweep, untouched

REPLICAS = "hydra/launcher=replicas"
PROCESS = (REPLICAS, "hydra.launcher.inner=process", "+hydra.launcher.settings.jobs=2")
JOBLIB = (REPLICAS, "hydra.launcher.inner=joblib", "+hydra.launcher.settings.n_jobs=2")
SUBMITIT = (REPLICAS, "hydra.launcher.inner=submitit_local")
EPOCHS = 120  # some seconds
LONG = ("seed=0,1,2", "model.depth=2,3", f"trainer.max_epochs={EPOCHS}")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [JOBLIB, SUBMITIT], ids=["joblib", "submitit"])
def test_every_launcher_trains_groups_and_single_jobs(tmp_path, launcher):
    jobs = (*launcher, "seed=0,1", "model.depth=0,2", "trainer.max_epochs=1")
    first = sweep(tmp_path / "a-sweep", *jobs)
    assert first.returncode == 1, first.stderr
    assert "replicas: 2 jobs in 1 group, " in first.stdout and "2 on their own" in first.stdout
    assert statuses(tmp_path / "a-sweep") == ["completed"] * 2 + ["failed"] * 2
    assert first.stderr.count("model.depth = 0: must be a whole number") >= 2
    assert "Traceback" not in first.stderr
    assert left_over(tmp_path / "a-sweep") == []
    before = untouched(tmp_path / "a-sweep")
    assert sweep(tmp_path / "a-sweep", REPLICAS, *jobs[-3:]).returncode == 1
    assert before.items() <= untouched(tmp_path / "a-sweep").items()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "signum"), [((REPLICAS,), signal.SIGTERM), (PROCESS, signal.SIGINT)], ids=["basic", "process"]
)
def test_a_signal_ends_groups_with_checkpoints_that_the_same_command_goes_on_from(tmp_path, launcher, signum):
    process = start(tmp_path, *launcher, *LONG)
    groups = 1 if launcher == (REPLICAS,) else 2
    wait_until(lambda: len(list(tmp_path.glob("*/lengths/*.parquet"))) >= 3 * groups, process)
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signum, errors
    assert "Traceback" not in errors and "resume with" not in errors
    assert errors.splitlines()[-1] == f"go on: the same command with hydra.sweep.dir={tmp_path}"
    assert "interrupted" in statuses(tmp_path) and {*statuses(tmp_path)} <= {"interrupted", "completed"}
    assert left_over(tmp_path) == []
    again = sweep(tmp_path, *launcher, *LONG)
    assert again.returncode == 0, again.stderr
    assert "from step" in again.stdout
    assert_whole(tmp_path)


def assert_whole(sweep: Path) -> None:
    """Every job that the sweep was asked for completed, and each of its steps is told of once."""
    found = summaries(sweep)
    assert found.keys() == {job.directory for job in read_jobs(sweep)}
    assert {(run["status"], run["steps"]) for run in found.values()} == {("completed", EPOCHS * 11)}
    for name in found:
        assert pd.read_parquet(sweep / name / "steps")["step"].tolist() == list(range(EPOCHS * 11))


@pytest.fixture
def traced(tmp_path):
    """Start a sweep whose processes leave a trace. None outlives the test."""
    started: list[Forked] = []
    script = tmp_path / "scripts" / traced_train.NAME
    script.parent.mkdir()
    source = Path(traced_train.__file__).read_text()
    script.write_text(source.replace("Path(__file__).parents[2]", f"Path({str(ROOT)!r})"))
    (tmp_path / "trace").mkdir()

    def call(*overrides: str, **variables: str) -> Forked:
        variables |= {"TRACE": str(tmp_path / "trace")}
        started.append(start(tmp_path / "sweep", *overrides, script=script, **variables))
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.wait()


def traces(tmp_path: Path) -> dict[str, Counter]:
    """How often each event came in each run directory."""
    files = (tmp_path / "trace").iterdir()
    return {file.name: Counter(event["event"] for event in traced_train.events(file)) for file in files}


@pytest.mark.slow
def test_no_job_ever_has_two_trainers_and_each_finishes_once_whoever_is_killed(tmp_path, traced):
    generator = random.Random(0)
    for whose in ("launcher", "worker"):
        # a launcher that finds every job with the other ends at once, so that a worker's end needs workers of both
        other = (REPLICAS,) if whose == "launcher" else PROCESS
        before = parts(tmp_path)
        processes = [traced(*launcher, *LONG) for launcher in (PROCESS, other)]
        wait_until(lambda before=before: parts(tmp_path) > before, *processes)
        time.sleep(generator.uniform(0, 1))
        if whose == "worker":
            writing = set().union(*(traced_train.writers(file) for file in (tmp_path / "trace").iterdir()))
            os.kill(generator.choice(sorted(writing)), signal.SIGKILL)
            time.sleep(generator.uniform(0, 1))
        for process in processes:
            process.kill()
            process.wait(timeout=60)
    assert not {*statuses(tmp_path / "sweep")} & {"failed", "interrupted"}
    processes = [traced(*PROCESS, *LONG) for _ in range(2)]
    outputs = [process.communicate(timeout=240) for process in processes]
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


def parts(tmp_path: Path) -> int:
    return len(list(tmp_path.glob("sweep/*/lengths/*.parquet")))


@pytest.mark.slow
def test_without_locks_the_trace_tells_of_two_trainers(tmp_path, traced):
    """What the test above would find if nothing kept workers apart."""
    processes = [traced(REPLICAS, *LONG, UNLOCKED="yes") for _ in range(2)]
    for process in processes:
        process.wait(timeout=240)
    assert sum((events for events in traces(tmp_path).values()), Counter())["overlap"] > 0
