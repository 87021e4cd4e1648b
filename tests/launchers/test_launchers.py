"""Launchers of other packages: joblib's workers, submitit's processes, and SLURM with simulated commands."""

import os
import signal

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from start_training.config.composed import plain
from start_training.launchers.process_tree import check_launcher, starts_processes
from start_training.runs.directory import RunDirectory
from tests import slurm
from tests.forked import wait_until
from tests.small_runs import CONF
from tests.sweeps import start, statuses, summaries, sweep
from tests.wandb_records import of_kind, records

JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
SUBMITIT = ("hydra/launcher=submitit_local",)
BROKEN = "+callbacks.broken={_target_:tests.broken.Broken,seed:1}"
DEADLY = "+callbacks.deadly={_target_:tests.broken.Broken,seed:2,kill:true}"
DDP_ON_CPUS = (  # two nodes of one task each
    *("hydra/launcher=slurm_ddp", "trainer=slurm_ddp", "trainer.accelerator=cpu"),
    *("hydra.launcher.gpus_per_node=1", "hydra.launcher.nodes=2"),
)


@pytest.fixture
def cluster(tmp_path) -> dict[str, str]:
    """Environment variables by which simulated SLURM commands are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return slurm.install(folder)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [JOBLIB, SUBMITIT], ids=["joblib", "submitit"])
def test_a_job_that_fails_stops_no_other_job(tmp_path, launcher):
    """Jobs fail by an exception that cannot be unpickled and, with submitit, by a killed process."""
    failing = ("seed=0,1",) if launcher is JOBLIB else ("seed=0,1,2", DEADLY)
    jobs = (*launcher, "model.depth=2", "trainer.max_epochs=1", "logger=wandb", BROKEN, *failing)
    first = sweep(tmp_path / "a-sweep", *jobs, "trainer.enable_progress_bar=true")
    assert first.returncode == 1, first.stderr
    assert statuses(tmp_path / "a-sweep") == ["completed", "failed"]
    assert "(Unpicklable: no luck in this net)" in first.stderr
    assert ("the job's process ended without a result" in first.stderr) == (launcher is SUBMITIT)
    assert "Epoch" not in first.stdout + first.stderr  # no progress bars, whose output would mix
    runs = [of_kind(records(path.parent), "run")[0] for path in tmp_path.glob("a-sweep/*/wandb")
            if (path.parent / "summary.json").exists()]  # fmt: skip
    assert {run.run_group for run in runs} == {"a-sweep"} and len({run.display_name for run in runs}) == 2


@pytest.mark.slow
def test_a_signal_ends_joblibs_workers_with_checkpoints_from_which_the_same_command_resumes(tmp_path):
    jobs = (*JOBLIB, "seed=0,1,2", "trainer.max_epochs=30")
    process = start(tmp_path, *jobs)
    wait_until(lambda: len(list(tmp_path.glob("*/checkpoints/last.ckpt"))) >= 2, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert statuses(tmp_path) == ["interrupted", "interrupted"]  # the third job has not started
    assert "Traceback" not in errors
    assert all(0 < summary["steps"] < 330 for summary in summaries(tmp_path).values())
    again = sweep(tmp_path, *jobs)
    assert again.returncode == 0, again.stderr
    assert "0 already finished, 2 to resume, 0 failed before, 1 new" in again.stdout
    assert {summary["steps"] for summary in summaries(tmp_path).values()} == {330}


@pytest.mark.slow
def test_a_joblib_worker_that_dies_is_reported_in_one_line(tmp_path):
    finished = sweep(tmp_path, *JOBLIB, "seed=0,2", "trainer.max_epochs=1", DEADLY)
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert "error: hydra/launcher = joblib: A worker process" in finished.stderr


def test_slurms_tasks_and_lightnings_ranks_agree(monkeypatch):
    ddp = ("hydra/launcher=slurm_ddp", "trainer=slurm_ddp", "hydra.launcher.nodes=3")
    gpu = ("hydra/launcher=slurm_gpu", "trainer=gpu")
    for overrides, tasks, ranks in ((gpu, (1, 1, 1), None), (ddp, (3, 4, 4), (3, 4))):
        monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        launcher, trainer = config.hydra.launcher, plain(config.trainer)
        assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == tasks
        assert not ranks or (trainer["num_nodes"], trainer["devices"]) == ranks
        assert starts_processes(trainer) == bool(ranks)
        check_launcher(trainer, launcher)


def test_ranks_started_by_slurm_start_no_further_processes(monkeypatch):
    trainer = {"devices": 4, "strategy": "ddp"}
    assert starts_processes(trainer)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    assert not starts_processes(trainer)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")  # an interactive shell: no tasks have been started
    assert starts_processes(trainer)


@pytest.mark.slow
def test_tasks_on_two_nodes_train_one_net_in_one_directory(tmp_path, cluster):
    jobs = (*DDP_ON_CPUS, "seed=0,1", "trainer.max_epochs=1", "datamodule.validation=0", "logger=wandb")
    finished = sweep(tmp_path / "sweep", *jobs, **cluster)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert statuses(tmp_path / "sweep") == ["completed", "completed"]
    for name in summaries(tmp_path / "sweep"):
        run = tmp_path / "sweep" / name
        lengths = pd.read_parquet(run / "lengths")
        assert lengths.groupby("layer")["count"].sum().unique().tolist() == [1437]  # each sample once
        assert len(list((run / "wandb").glob("offline-run-*"))) == 1
    logs = [log.read_text() for log in sorted(tmp_path.glob("sweep/.submitit/*/*_log.out"))]
    assert len(logs) == 4
    assert sum("completed, test accuracy" in log for log in logs) == 2  # printed by rank 0 of each job


@pytest.mark.slow
def test_a_job_that_times_out_writes_a_checkpoint_is_requeued_and_resumes(tmp_path, cluster):
    process = start(tmp_path / "sweep", *DDP_ON_CPUS, "seed=0", "trainer.max_epochs=60", **cluster)
    wait_until(lambda: list(tmp_path.glob("sweep/*/checkpoints/last.ckpt")), process)
    [tasks] = [file.read_text().split() for file in tmp_path.glob("bin/*.pids")]
    for task in tasks:
        os.kill(int(task), signal.SIGUSR2)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    logs = "".join(log.read_text() for log in tmp_path.glob("sweep/.submitit/*/*_log.err"))
    assert "this job is preempted" in logs and "interrupted" in logs
    [run] = [path.parent for path in tmp_path.glob("sweep/*/summary.json")]
    assert RunDirectory(run).summary()["reason"] == "max_epochs = 60 reached"
    assert pd.read_parquet(run / "steps")["step"].tolist() == list(range(660))
