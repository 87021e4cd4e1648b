"""Groups of replicas on several workers: every launcher, signals, kills, and never two trainers of one job."""

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from start_training.runs.sweep_jobs import read_jobs
from tests.forked import Forked, wait_until
from tests.kill_at import Step, read_steps, start_killed
from tests.small_runs import SMALL
from tests.sweeps import left_over, start, statuses, summaries, sweep

REPLICAS = "hydra/launcher=replicas"
PROCESS = (REPLICAS, "hydra.launcher.inner=process", "+hydra.launcher.settings.jobs=2")
JOBLIB = (REPLICAS, "hydra.launcher.inner=joblib", "+hydra.launcher.settings.n_jobs=2")
SUBMITIT = (REPLICAS, "hydra.launcher.inner=submitit_local")
EPOCHS = 120  # some seconds
LONG = ("seed=0,1,2", "model.depth=2,3", f"trainer.max_epochs={EPOCHS}")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [JOBLIB, SUBMITIT], ids=["joblib", "submitit"])
def test_every_launcher_trains_groups_and_single_jobs(tmp_path, launcher):
    jobs = ("seed=0,1", "model.depth=0,2", "trainer.max_epochs=1")
    first = sweep(tmp_path, *launcher, *jobs)
    assert first.returncode == 1, first.stderr
    assert "replicas: 2 jobs in 1 group, " in first.stdout and "2 jobs on their own" in first.stdout
    assert statuses(tmp_path) == ["completed"] * 2 + ["failed"] * 2
    assert first.stderr.count("model.depth = 0: must be a whole number") >= 2  # once per job
    assert "Traceback" not in first.stderr
    assert left_over(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "signum"), [((REPLICAS,), signal.SIGTERM), (PROCESS, signal.SIGINT)], ids=["basic", "process"]
)
def test_a_signal_ends_groups_with_checkpoints_from_which_the_same_command_resumes(tmp_path, launcher, signum):
    jobs = (*launcher, *LONG, "hydra.launcher.checkpoint_seconds=0.2")
    process = start(tmp_path, *jobs)
    begun = 6 if launcher is PROCESS else 3
    wait_until(lambda: len(list(tmp_path.glob("*/checkpoints/last.ckpt"))) >= begun, process)
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signum, errors
    assert "Traceback" not in errors and "resume with" not in errors
    assert errors.splitlines()[-1] == f"to resume: repeat the command with hydra.sweep.dir={tmp_path}"
    assert "interrupted" in statuses(tmp_path) and {*statuses(tmp_path)} <= {"interrupted", "completed"}
    assert left_over(tmp_path) == []
    again = sweep(tmp_path, *jobs)
    assert again.returncode == 0, again.stderr
    assert re.search(r"from\s*\n.*step", again.stdout)  # a column of the plan
    assert_whole(tmp_path)


def assert_whole(sweep: Path) -> None:
    """Assert that every job of the sweep has completed, and that its table `steps/` has each step once."""
    runs = summaries(sweep)
    assert runs.keys() == read_jobs(sweep).keys()
    assert {(run["status"], run["steps"]) for run in runs.values()} == {("completed", EPOCHS * 11)}
    for name in runs:
        assert pd.read_parquet(sweep / name / "steps")["step"].tolist() == list(range(EPOCHS * 11))


def writers(steps: Iterable[tuple[int, Step]]) -> dict[str, list[tuple[int, str]]]:
    """Return for each run the processes that wrote in its directory, in turn, each with the last file it wrote."""
    turns_of_runs: dict[str, list[tuple[int, str]]] = {}
    for pid, step in steps:
        run, _, file = step.name.removeprefix("rename ").partition("/")
        if step.name.startswith("rename") and file and not run.startswith("."):  # folders of groups
            turns = turns_of_runs.setdefault(run, [])
            if turns and turns[-1][0] == pid:
                turns.pop()
            turns.append((pid, file))
    return turns_of_runs


def assert_one_trainer_at_a_time(steps: Iterable[tuple[int, Step]]) -> None:
    for run, turns in writers(steps).items():
        assert len({pid for pid, _ in turns}) == len(turns), f"{run}: two at a time: {turns}"
        assert [file == "summary.json" for _, file in turns] == [False] * (len(turns) - 1) + [True], f"{run}: {turns}"


@pytest.mark.slow
def test_no_job_has_two_trainers_and_each_finishes_once_if_launchers_or_workers_are_killed(tmp_path):
    generator, folder, log = random.Random(0), tmp_path / "sweep", tmp_path / "log"
    command = ("-m", *SMALL, f"hydra.sweep.dir={folder}", *LONG, "hydra.launcher.checkpoint_seconds=1")

    def launch(*launcher: str) -> Forked:
        return start_killed(folder, *command, *launcher, log=log)

    for whose in ("launcher", "worker"):
        # A launcher ends at once if the other one holds every job, so killing a worker needs workers of both.
        other = (REPLICAS,) if whose == "launcher" else PROCESS
        parts = len(list(folder.glob("*/lengths/*.parquet")))
        processes = [launch(*launcher) for launcher in (PROCESS, other)]
        wait_until(lambda parts=parts: len(list(folder.glob("*/lengths/*.parquet"))) > parts, *processes)
        time.sleep(generator.uniform(0, 1))
        if whose == "worker":
            pids = {pid for pid, step in read_steps(log) if "lengths/part" in step.name}
            alive = [pid for pid in sorted(pids) if Path(f"/proc/{pid}").exists()]
            os.kill(generator.choice(alive), signal.SIGKILL)
            time.sleep(generator.uniform(0, 1))
        for process in processes:
            process.kill()
            process.wait(timeout=60)
    assert not {*statuses(folder)} & {"failed", "interrupted"}
    processes = [launch(*PROCESS) for _ in range(2)]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert_whole(folder)
    for leftover in left_over(folder):  # folders of groups of the killed launchers
        shutil.rmtree(folder / leftover)
    assert {path.name for path in folder.iterdir()} == {*summaries(folder), "jobs.json"}
    assert_one_trainer_at_a_time(read_steps(log))
    assert max(map(len, writers(read_steps(log)).values())) > 1  # some runs were interrupted


def test_two_trainers_at_a_time_and_a_job_finished_twice_fail_the_assertion():
    part, end = Step("rename run/steps/part-000000000000.parquet"), Step("rename run/summary.json")
    assert_one_trainer_at_a_time([(1, part), (1, part), (2, part), (2, end)])
    for steps in ([(1, part), (2, part), (1, part), (1, end)], [(1, part), (1, end), (2, part), (2, end)]):
        with pytest.raises(AssertionError):
            assert_one_trainer_at_a_time(steps)
