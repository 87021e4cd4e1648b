"""Other launchers than ours: joblib's workers, submitit's processes, and SLURM as far as it can be had here."""

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
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from scripts.train import main
from src.jobs.composed import plain
from src.jobs.process_tree import check_launcher, starts_processes
from tests.jobs import slurm
from tests.jobs.conftest import CONF, SMALL
from tests.jobs.test_sweep import SCRIPT, assert_same_sweep, kill_somewhere, summaries, untouched
from tests.jobs.test_wandb import records

JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
SUBMITIT = ("hydra/launcher=submitit_local",)
DDP_ON_CPUS = (  # two nodes of one task each
    *("hydra/launcher=slurm_ddp", "trainer=slurm_ddp", "trainer.accelerator=cpu"),
    *("hydra.launcher.gpus_per_node=1", "hydra.launcher.nodes=2"),
)


def start(directory: Path, *overrides: str, **environment: str) -> subprocess.Popen:
    """A sweep in a session of its own, as if in a terminal of its own."""
    command = [sys.executable, str(SCRIPT), "-m", *SMALL, f"hydra.sweep.dir={directory}", *overrides]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)  # fmt: skip


def sweep(directory: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess:
    process = start(directory, *overrides, **environment)
    output, errors = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def statuses(directory: Path) -> list[str]:
    return sorted(summary["status"] for summary in summaries(directory).values())


@pytest.fixture
def cluster(tmp_path) -> dict[str, str]:
    """The environment in which SLURM's commands are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return slurm.install(folder)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [JOBLIB, SUBMITIT], ids=["joblib", "submitit"])
def test_every_job_runs_once_fails_alone_and_is_left_alone_when_finished(tmp_path, launcher):
    jobs = (*launcher, "seed=0,1", "model.depth=0,2", "trainer.max_epochs=1", "logger=wandb")
    first = sweep(tmp_path / "a-sweep", *jobs, "trainer.enable_progress_bar=true")
    assert first.returncode == 1, first.stderr
    assert statuses(tmp_path / "a-sweep") == ["completed", "completed", "failed", "failed"]
    assert first.stderr.count("model.depth = 0: must be a whole number") >= 2
    assert "Traceback" not in first.stderr
    assert "Epoch" not in first.stdout + first.stderr  # no bars that would run into each other
    found = [records(path.parent) for path in tmp_path.glob("a-sweep/*/wandb")]
    runs = [record.run for job in found for record in job if record.WhichOneof("record_type") == "run"]
    assert {each.run_group for each in runs} == {"a-sweep"}
    assert len({each.display_name for each in runs}) == len(runs) == 2
    before = untouched(tmp_path / "a-sweep")
    again = sweep(tmp_path / "a-sweep", *jobs)
    assert again.returncode == 1
    assert "4 jobs, 2 finished before, 0 to go on with, 2 that failed, 0 new" in again.stdout
    assert before.items() <= untouched(tmp_path / "a-sweep").items()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_joblibs_workers_with_checkpoints_that_the_same_command_goes_on_from(tmp_path, signum):
    jobs = (*JOBLIB, "seed=0,1,2", "trainer.max_epochs=60")
    process = start(tmp_path, *jobs)
    wait_until(lambda: len(list(tmp_path.glob("*/checkpoints/last.ckpt"))) == 2, process)
    # Ctrl-C reaches all processes of the terminal, SIGTERM the one that it is sent to.
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signum, errors
    assert statuses(tmp_path) == ["interrupted", "interrupted"]  # and the third has not begun
    assert "Traceback" not in errors
    assert all(0 < summary["steps"] < 660 for summary in summaries(tmp_path).values())
    again = sweep(tmp_path, *jobs)
    assert again.returncode == 0, again.stderr
    assert "0 finished before, 2 to go on with, 0 that failed, 1 new" in again.stdout
    assert {summary["steps"] for summary in summaries(tmp_path).values()} == {660}


@pytest.mark.slow
def test_a_sweep_of_joblibs_killed_again_and_again_ends_as_one_left_alone(tmp_path):
    grid = ("seed=0,1", "optimizer.lr=0.01,1e30", "trainer.max_epochs=30", "callbacks=start_of_training")
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert sweep(alone, *grid).returncode == 0
    generator, done = random.Random(0), {}
    for _ in range(2):
        kill_somewhere(start(killed, *grid, *JOBLIB), killed, generator)
        assert done.items() <= untouched(killed).items()
        done = untouched(killed)
    assert sweep(killed, *grid, *JOBLIB).returncode == 0
    assert done.items() <= untouched(killed).items()
    assert_same_sweep(alone, killed)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [JOBLIB, SUBMITIT], ids=["joblib", "submitit"])
def test_an_error_that_does_not_unpickle_stops_no_other_job(tmp_path, launcher):
    broken = "+callbacks.broken={_target_:tests.jobs.broken.Broken,seed:1}"
    finished = sweep(tmp_path, *launcher, "seed=0,1,2", "trainer.max_epochs=1", broken)
    assert finished.returncode == 1, finished.stderr
    assert statuses(tmp_path) == ["completed", "completed", "failed"]
    assert "(Unpicklable: no luck in this net)" in finished.stderr


@pytest.mark.slow
def test_a_worker_of_joblibs_that_dies_is_told_of_in_one_line(tmp_path):
    broken = "+callbacks.broken={_target_:tests.jobs.broken.Broken,seed:1,kill:true}"
    finished = sweep(tmp_path, *JOBLIB, "seed=0,1", "trainer.max_epochs=1", broken)
    assert finished.returncode == 1
    assert "error: hydra/launcher = joblib: A worker process" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.slow
def test_a_process_of_submitits_that_dies_does_not_hide_the_others(tmp_path):
    broken = "+callbacks.broken={_target_:tests.jobs.broken.Broken,seed:0,kill:true}"
    finished = sweep(tmp_path, *SUBMITIT, "seed=0,1,2", "trainer.max_epochs=1", broken)
    assert finished.returncode == 1
    assert statuses(tmp_path) == ["completed", "completed"]
    assert "failed: " in finished.stderr and "its process left no result" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("launcher", [JOBLIB, SUBMITIT], ids=["joblib", "submitit"])
def test_a_job_of_several_processes_is_refused_where_it_cannot_have_them(shell, launcher):
    name = {JOBLIB: "JoblibLauncher", SUBMITIT: "LocalLauncher"}[launcher]
    status, _, errors = shell(SCRIPT, main, "-m", *SMALL, *launcher, "seed=0,1", "trainer=ddp_cpu")
    assert (status, errors) == (1, [
        "error: trainer.devices = 2: with strategy = ddp a job needs a process tree of its own, which "
        f"{name} cannot give it; add hydra/launcher=process"
    ])  # fmt: skip


def composed(*overrides: str) -> dict:
    """The composed config, with what Hydra's launcher is given."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    launcher = {key: config.hydra.launcher[key] for key in ("nodes", "tasks_per_node", "gpus_per_node", "_target_")}
    trainer = plain(config.trainer)
    return {**launcher, "trainer": trainer}


def test_the_example_for_slurm_gives_each_job_a_gpu():
    config = composed("hydra/launcher=slurm_gpu", "trainer=gpu")
    assert [config[key] for key in ("nodes", "tasks_per_node", "gpus_per_node")] == [1, 1, 1]
    assert not starts_processes(config["trainer"])


def test_slurms_tasks_and_lightnings_ranks_agree():
    config = composed("hydra/launcher=slurm_ddp", "trainer=slurm_ddp", "hydra.launcher.nodes=3")
    assert [config[key] for key in ("nodes", "tasks_per_node", "gpus_per_node")] == [3, 4, 4]
    assert (config["trainer"]["num_nodes"], config["trainer"]["devices"]) == (3, 4)
    check_launcher(config["trainer"], config)


def test_ranks_that_slurm_has_started_start_no_others(monkeypatch):
    trainer = {"devices": 4, "strategy": "ddp"}
    assert starts_processes(trainer)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    assert not starts_processes(trainer)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")  # a shell on a node, whose SLURM_NTASKS nobody started
    assert starts_processes(trainer)


@pytest.mark.slow
def test_tasks_on_two_nodes_train_one_net_and_leave_one_directory(tmp_path, cluster):
    jobs = (*DDP_ON_CPUS, "seed=0,1", "trainer.max_epochs=1", "datamodule.validation=0", "logger=wandb")
    finished = sweep(tmp_path / "sweep", *jobs, **cluster)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert statuses(tmp_path / "sweep") == ["completed", "completed"]
    for run in summaries(tmp_path / "sweep"):
        lengths = pd.read_parquet(tmp_path / "sweep" / run / "lengths")
        assert lengths.groupby("layer")["count"].sum().unique().tolist() == [1437]  # each sample once, by one of both
        assert len(list((tmp_path / "sweep" / run / "wandb").glob("offline-run-*"))) == 1
    said = [log.read_text() for log in sorted(tmp_path.glob("sweep/.submitit/*/*_log.out"))]
    assert len(said) == 4
    assert sum("completed, test accuracy" in log for log in said) == 2  # by rank 0 of each job
    again = sweep(tmp_path / "sweep", *jobs, **cluster)
    assert (again.returncode, "2 jobs, 2 finished before" in again.stdout) == (0, True)


@pytest.mark.slow
def test_a_job_whose_time_is_over_leaves_a_checkpoint_is_requeued_and_goes_on(tmp_path, cluster):
    process = start(tmp_path / "sweep", *DDP_ON_CPUS, "seed=0", "trainer.max_epochs=120", **cluster)
    wait_until(lambda: list(tmp_path.glob("sweep/*/checkpoints/last.ckpt")), process)
    [tasks] = [file.read_text().split() for file in tmp_path.glob("bin/*.pids")]
    for task in tasks:
        os.kill(int(task), signal.SIGUSR2)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    [summary] = summaries(tmp_path / "sweep").values()
    assert (summary["status"], summary["steps"]) == ("completed", 1320)
    logs = "".join(log.read_text() for log in tmp_path.glob("sweep/.submitit/*/*_log.err"))
    assert "this job is preempted" in logs and "interrupted" in logs
    [run] = [path.parent for path in tmp_path.glob("sweep/*/summary.json")]
    steps = pd.read_parquet(run / "steps")["step"]
    assert steps.is_unique and steps.max() == 1319
    assert json.loads((run / "summary.json").read_text())["reason"] == "max_epochs = 120 reached"


def wait_until(there, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while not there():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
