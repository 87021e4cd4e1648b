"""Schedules in a job: they span the run, resume bit-identically, and refuse to continue with other settings."""

import numpy as np
import pandas as pd
import pytest
import torch

from start_training.runs.directory import RunDirectory
from start_training.schedules.one_cycle import OneCycle
from tests.same_run import assert_same_run
from tests.signalling import interrupted, resume

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
        (("trainer.accumulate_grad_batches=3",), 12),  # the last two of 11 batches are a step as well
        (("trainer.accumulate_grad_batches=3", "+trainer.limit_train_batches=6"), 6),
    ],
)
def test_a_one_cycle_schedule_spans_the_run(trained, overrides, steps):
    rows = hyperparameters(trained("schedule=one_cycle", "callbacks=none", *overrides))
    schedule = OneCycle(torch.optim.SGD([torch.zeros(1)], lr=0.01, momentum=0.9), total_steps=steps)
    assert rows["step"].tolist() == list(range(steps))
    np.testing.assert_allclose(rows["learning_rate"], [0.01 * schedule.share(step) for step in range(steps)], 1e-14)
    np.testing.assert_allclose(rows["momentum"], [schedule.momentum_at(step) for step in range(steps)], 1e-14)


@pytest.mark.parametrize(
    ("step", "overrides"),
    [
        (15, ["schedule=one_cycle", "optimizer=adamw"]),  # at the peak of the rate
        (22, ["schedule=one_cycle", "optimizer.nesterov=true"]),  # decreasing rate, between epochs
        (10, [*STEP_LR]),
    ],
)
def test_an_interrupted_run_resumes_to_the_same_result(config, trained, tmp_path, step, overrides):
    settings = config(*overrides)
    interrupted(settings, tmp_path, step)
    assert hyperparameters(tmp_path)["step"].tolist() == list(range(step))
    assert resume(settings, tmp_path)["status"] == "completed"
    assert_same_run(trained(*overrides), tmp_path)


@pytest.mark.parametrize("schedule", [TRIANGULAR, STEP_LR], ids=str)
def test_a_finished_run_continues_if_its_schedule_does_not_depend_on_the_length(config, trained, tmp_path, schedule):
    resume(config(*schedule), tmp_path, origin=trained(*schedule, "trainer.max_epochs=2"))
    assert_same_run(trained(*schedule), tmp_path)


ONE_CYCLE_LR = ("schedule=torch", "schedule._target_=torch.optim.lr_scheduler.OneCycleLR", "+schedule.max_lr=0.01")


@pytest.mark.parametrize(("schedule", "named"), [(("schedule=one_cycle",), "OneCycle"), (ONE_CYCLE_LR, "OneCycleLR")])
def test_a_finished_run_does_not_continue_if_its_schedule_depends_on_the_length(
    config, trained, tmp_path, schedule, named
):
    short = trained(*schedule, "trainer.max_epochs=2")
    resume(config(*schedule, "trainer.max_epochs=2"), tmp_path / "same", origin=short)  # the run is complete
    with pytest.raises(ValueError) as raised:
        resume(config(*schedule, "trainer.max_epochs=5"), tmp_path / "longer", origin=short)
    assert str(raised.value) == (
        f"schedule = {named}: must have the 22 total steps of the checkpoint, not 55; "
        "to change the length of the run, start it without ckpt_path"
    )
    assert RunDirectory(tmp_path / "longer").summary()["status"] == "failed"


def test_a_schedule_in_epochs_does_not_continue_with_epochs_of_another_length(config, trained, tmp_path):
    message = "schedule = Step: must have the 11 steps per epoch of the checkpoint, not 21; set"
    with pytest.raises(ValueError, match=message):
        resume(config(*STEP, "trainer.max_epochs=5", "datamodule.batch_size=64"), tmp_path, trained(*STEP))


def test_a_run_resumes_only_with_the_schedule_settings_of_its_checkpoint(config, trained, tmp_path):
    message = r"^schedule\.step_size = 8: must be that of the resumed run in ckpt_path, 7"
    with pytest.raises(ValueError, match=message):
        resume(config(*STEP_LR, "schedule.step_size=8"), tmp_path, origin=trained(*STEP_LR, "trainer.max_epochs=2"))
