"""An interrupted and resumed run is bit-identical to an uninterrupted one."""

import shutil

import pandas as pd
import pytest
import torch

from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.train import train
from tests.kill_at import Killed, Step, start_killed
from tests.same_run import assert_same_run
from tests.signalling import interrupted, resume
from tests.small_runs import SMALL

EXPONENTIAL = ("schedule=torch", "schedule._target_=torch.optim.lr_scheduler.ExponentialLR", "+schedule.gamma=0.9")

UPDATES = "callbacks.lengths.updates=true"


@pytest.mark.parametrize(
    ("step", "overrides"),
    [  # within an epoch with dropout; between two measurements; with max_steps; at the end of an epoch
        (4, ("model.dropout=0.2", "trainer.accumulate_grad_batches=2", "callbacks.lengths.flush_every_n_steps=3")),
        (12, ("optimizer=adamw", "callbacks.lengths.every_n_steps=5", "datamodule.validation=0", UPDATES)),
        (15, ("trainer.max_steps=30",)),
        (22, EXPONENTIAL),
    ],
)
def test_an_interrupted_run_resumes_to_the_same_result(config, trained, tmp_path, step, overrides):
    interrupted(config(*overrides), tmp_path / "cut", step, "SIGTERM" if step == 22 else "SIGINT")
    assert pd.read_parquet(tmp_path / "cut/steps")["step"].max() <= step
    assert resume(config(*overrides), tmp_path / "elsewhere", origin=tmp_path / "cut")["status"] == "completed"
    assert_same_run(trained(*overrides), tmp_path / "elsewhere")  # with the rows of the interrupted run
    assert RunDirectory(tmp_path / "cut").state == "interrupted"
    resume(config(*overrides), tmp_path / "cut")
    assert_same_run(trained(*overrides), tmp_path / "cut")


def test_the_same_seed_gives_the_same_run_and_another_seed_does_not(config, trained, tmp_path):
    train(Job(config(), tmp_path))
    assert_same_run(trained(), tmp_path)
    with pytest.raises(AssertionError):
        assert_same_run(trained("seed=1"), tmp_path)


FLUSHING = ("callbacks.lengths.flush_every_n_steps=8", "trainer.max_epochs=2", UPDATES)


@pytest.mark.slow
def test_a_run_killed_at_given_points_resumes_to_the_same_result(config, trained, tmp_path):
    """Killed before the lock, between the tables of a flush, and between tables and checkpoint."""
    command = ("-m", *SMALL, *FLUSHING, f"hydra.sweep.dir={tmp_path}/sweep", "hydra.sweep.subdir=run")
    run = RunDirectory(tmp_path / "sweep" / "run")
    for name, nth, state, files in (
        ("lock run/.lock", 1, "absent", []),
        ("rename run/steps/part-000000000008.parquet", 1, "killed", ["000", "008"]),
        ("rename run/checkpoints/last.ckpt", 2, "killed", ["000", "008", "011", "019"]),
    ):
        killed = start_killed(tmp_path / "sweep", *command, at=Killed(Step(name, nth)))
        assert killed.wait(timeout=120) == -9, killed.stderr
        assert (run.state, sorted(file.stem[-3:] for file in run.path.glob("lengths/part-*"))) == (state, files)
    assert torch.load(run.checkpoint, weights_only=True)["global_step"] == 11
    shutil.copytree(run.path, tmp_path / "off")
    assert start_killed(tmp_path / "sweep", *command).wait(timeout=120) == 0
    assert_same_run(trained(*FLUSHING), run.path)
    move_a_weight(RunDirectory(tmp_path / "off"))
    train(Job(config(*FLUSHING), tmp_path / "off", sweep="a-sweep"))
    with pytest.raises(AssertionError):
        assert_same_run(trained(*FLUSHING), tmp_path / "off")


def move_a_weight(run: RunDirectory) -> None:
    """Change a weight in the checkpoint by a millionth."""
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    next(iter(checkpoint["state_dict"].values())).mul_(1 + 1e-6)
    torch.save(checkpoint, run.checkpoint)


@pytest.mark.parametrize("setting", ["trainer.max_epochs", "trainer.max_steps"])
def test_a_finished_run_continues_with_a_larger_limit(config, trained, tmp_path, setting):
    short, long = {"trainer.max_epochs": (2, 3), "trainer.max_steps": (15, 30)}[setting]
    resume(config(f"{setting}={long}"), tmp_path, origin=trained(f"{setting}={short}"))
    one, other = (pd.read_parquet(run / "lengths") for run in (trained(f"{setting}={long}"), tmp_path))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
