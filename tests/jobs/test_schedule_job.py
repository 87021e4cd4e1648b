"""Schedules in a job: the run's own length, resuming and extending to the bit, and what cannot go on."""

import numpy as np
import pandas as pd
import pytest
import torch

from start_training.jobs.record import Job
from start_training.jobs.train import train
from start_training.runs.directory import RunDirectory
from start_training.schedules.one_cycle import OneCycle
from tests.jobs.same_run import assert_same_run
from tests.jobs.test_processes import run
from tests.jobs.test_resume import interrupted, resume
from tests.jobs.test_wandb import of_kind, records, values

STEP = ("schedule=step", "schedule.every_epochs=1", "schedule.factor=0.5")
TRIANGULAR = ("schedule=triangular", "schedule.cycle_epochs=1.5")
STEP_LR = ("schedule=torch", "schedule._target_=torch.optim.lr_scheduler.StepLR", "+schedule.step_size=7")


def hyperparameters(directory):
    return pd.read_parquet(directory / "hyperparameters")


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ((), 33),
        (("trainer.max_epochs=-1", "trainer.max_steps=20"), 20),
        (("trainer.max_steps=100",), 33),
        (("trainer.accumulate_grad_batches=3",), 12),  # of 11 batches the last two are a step too
        (("trainer.accumulate_grad_batches=3", "+trainer.limit_train_batches=6"), 6),
    ],
)
def test_a_cycle_spans_the_run(trained, overrides, steps):
    rows = hyperparameters(trained("schedule=one_cycle", "callbacks=none", *overrides))
    schedule = OneCycle(torch.optim.SGD([torch.zeros(1)], lr=0.01, momentum=0.9), total_steps=steps)
    assert rows["step"].tolist() == list(range(steps))
    np.testing.assert_allclose(rows["learning_rate"], [0.01 * schedule.share(step) for step in range(steps)], 1e-14)
    np.testing.assert_allclose(rows["momentum"], [schedule.momentum_at(step) for step in range(steps)], 1e-14)


@pytest.mark.parametrize(
    ("step", "overrides"),
    [
        (15, ["schedule=one_cycle", "optimizer=adamw"]),  # at the peak
        (22, ["schedule=one_cycle", "optimizer.nesterov=true"]),  # on the way down, between epochs
        (31, ["schedule=one_cycle", "trainer.max_steps=32"]),  # in the annihilation
        (17, [*TRIANGULAR]),
        (13, [*STEP]),
        (10, [*STEP_LR]),
    ],
)
def test_an_interrupted_run_resumes_as_if_nothing_had_happened(config, trained, tmp_path, step, overrides):
    settings = config(*overrides)
    interrupted(settings, tmp_path, step)
    assert hyperparameters(tmp_path)["step"].tolist() == list(range(step))
    assert resume(settings, tmp_path)["status"] == "completed"
    assert_same_run(trained(*overrides), tmp_path)


@pytest.mark.parametrize("schedule", [TRIANGULAR, STEP_LR], ids=str)
def test_a_finished_run_goes_on_where_its_schedule_does_not_depend_on_its_length(config, trained, tmp_path, schedule):
    resume(config(*schedule), tmp_path, origin=trained(*schedule, "trainer.max_epochs=2"))
    assert_same_run(trained(*schedule), tmp_path)


ONE_CYCLE_LR = ("schedule=torch", "schedule._target_=torch.optim.lr_scheduler.OneCycleLR", "+schedule.max_lr=0.01")


@pytest.mark.parametrize(
    ("schedule", "named"),
    [(("schedule=one_cycle",), "OneCycle"), (ONE_CYCLE_LR, "OneCycleLR")],
)
def test_a_finished_run_does_not_go_on_where_it_does(config, trained, tmp_path, schedule, named):
    short = trained(*schedule, "trainer.max_epochs=2")
    resume(config(*schedule, "trainer.max_epochs=2"), tmp_path / "same", origin=short)  # nothing is left
    with pytest.raises(ValueError) as raised:
        resume(config(*schedule, "trainer.max_epochs=5"), tmp_path / "longer", origin=short)
    assert str(raised.value) == (
        f"schedule = {named}: spans a whole run, of 22 steps in ckpt_path and of 55 now, and cannot be extended or cut "
        "short; train the run of the new length from its start"
    )
    assert RunDirectory(tmp_path / "longer").summary()["status"] == "failed"


def test_epochs_of_another_length_are_others(config, trained, tmp_path):
    said = "schedule = Step: counts in epochs, of 11 steps in ckpt_path and of 21 now; go"
    with pytest.raises(ValueError, match=said):
        resume(config(*STEP, "trainer.max_epochs=5", "datamodule.batch_size=64"), tmp_path, trained(*STEP))


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (("schedule=one_cycle",), (), "schedule = constant: the run in ckpt_path has OneCycle, and goes on"),
        (STEP_LR, (*STEP_LR, "schedule.step_size=8"), "schedule.step_size = 8: the run in ckpt_path has 7, and goes"),
        (STEP, (*STEP, "optimizer.lr=0.02"), "optimizer.lr = 0.02: the run in ckpt_path has 0.01, and goes on with it"),
        (
            ("schedule=one_cycle", "optimizer=adam"),
            ("schedule=one_cycle", "optimizer=adam", "optimizer.betas=[0.9,0.99]"),
            "optimizer.betas = [0.99]: the run in ckpt_path has [0.999], and goes on with it",
        ),
        (("schedule=one_cycle",), ("schedule=one_cycle", "optimizer=adam"), "ckpt_path = {path}: is of another optim"),
    ],
)
def test_a_run_goes_on_under_the_settings_it_began_with(config, trained, tmp_path, there, here, said):
    run = trained(*there, "trainer.max_epochs=1", "callbacks=none")
    with pytest.raises(ValueError) as raised:
        resume(config(*here, "trainer.max_epochs=2", "callbacks=none"), tmp_path, origin=run)
    assert str(raised.value).startswith(said.format(path=RunDirectory(run).checkpoint))


def test_momentum_that_a_cycle_sets_anyway_may_be_another(config, trained, tmp_path):
    one_cycle = ("schedule=one_cycle", "callbacks=none")
    summary = resume(config(*one_cycle, "optimizer.momentum=0.5"), tmp_path, trained(*one_cycle))
    assert summary["status"] == "completed"


def test_wandb_gets_a_row_per_step_where_the_rate_moves_and_one_where_it_does_not(config, tmp_path):
    for schedule, rows in (("one_cycle", 33), ("constant", 1)):
        train(Job(config(f"schedule={schedule}", "logger=wandb", "callbacks=none"), tmp_path / schedule))
        history = [values(row.item) for row in of_kind(records(tmp_path / schedule), "history")]
        sent = pd.DataFrame([row for row in history if "weight_decay" in row]).set_index("trainer/global_step")
        assert len(sent) == rows
        there = hyperparameters(tmp_path / schedule).set_index("step")[["learning_rate", "momentum"]]
        assert (sent[there.columns] == there.loc[sent.index]).all(axis=None)


@pytest.mark.slow
def test_two_processes_cycle_as_one_does(tmp_path):
    for name, trainer in (("one", "cpu"), ("two", "ddp_cpu")):
        finished = run("schedule=one_cycle", f"trainer={trainer}", f"hydra.run.dir={tmp_path / name}")
        assert finished.returncode == 0, finished.stderr
    one, two = (hyperparameters(tmp_path / name) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
