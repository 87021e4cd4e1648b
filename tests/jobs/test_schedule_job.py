"""Schedules in a job: the run's own length, resuming and extending to the bit, and what cannot go on."""

import json

import pandas as pd
import pytest
import torch

from src.jobs.record import Job
from src.jobs.train import train
from src.runs.directory import RunDirectory
from src.schedules.one_cycle import OneCycle
from tests.jobs.same_run import assert_same_run
from tests.jobs.test_processes import run
from tests.jobs.test_resume import interrupted, resume
from tests.jobs.test_wandb import records

STEP = ("schedule=step", "schedule.every_epochs=1", "schedule.factor=0.5")
TRIANGULAR = ("schedule=triangular", "schedule.cycle_epochs=1.5")
STEP_LR = ("schedule=torch", "schedule._target_=torch.optim.lr_scheduler.StepLR", "+schedule.step_size=7")


def hyperparameters(directory):
    return pd.read_parquet(directory / "hyperparameters")


def one_cycle(steps, lr=0.01):
    """What a run of so many steps should have used."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    schedule = OneCycle(optimizer, total_steps=steps)
    return pd.DataFrame(
        {
            "learning_rate": [lr * schedule.share(step) for step in range(steps)],
            "momentum": [schedule.momentum_at(step) for step in range(steps)],
        }
    )


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ((), 33),
        (("trainer.max_steps=20",), 20),
        (("trainer.max_epochs=-1", "trainer.max_steps=20"), 20),
        (("trainer.max_steps=100",), 33),
        (("trainer.accumulate_grad_batches=3",), 12),  # of 11 batches the last two are a step too
        (("trainer.accumulate_grad_batches=3", "+trainer.limit_train_batches=6"), 6),
        (("trainer.max_steps=1",), 1),
    ],
)
def test_a_cycle_spans_the_run(trained, overrides, steps):
    rows = hyperparameters(trained("schedule=one_cycle", "callbacks=none", *overrides))
    assert rows["step"].tolist() == list(range(steps))
    pd.testing.assert_frame_equal(rows[["learning_rate", "momentum"]], one_cycle(steps), rtol=1e-14)


def test_epochs_are_the_runs(trained):
    rows = hyperparameters(trained(*STEP, "trainer.accumulate_grad_batches=2"))
    assert rows.groupby("epoch")["learning_rate"].unique().map(list).tolist() == [[0.01], [0.005], [0.0025]]
    assert rows["momentum"].unique().tolist() == [0.9]


@pytest.mark.parametrize(
    ("step", "overrides"),
    [
        (5, ["schedule=one_cycle"]),  # on the way up, in mid-epoch
        (15, ["schedule=one_cycle", "optimizer=adamw"]),  # at the peak
        (22, ["schedule=one_cycle", "optimizer.nesterov=true"]),  # on the way down, between epochs
        (31, ["schedule=one_cycle", "trainer.max_steps=32"]),  # in the annihilation
        (4, ["schedule=one_cycle", "trainer.accumulate_grad_batches=2"]),
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


@pytest.mark.parametrize("schedule", [(), STEP, TRIANGULAR, ("schedule=inverse",), STEP_LR], ids=str)
def test_a_finished_run_goes_on_where_its_schedule_does_not_depend_on_its_length(config, trained, tmp_path, schedule):
    resume(config(*schedule), tmp_path, origin=trained(*schedule, "trainer.max_epochs=2"))
    assert_same_run(trained(*schedule), tmp_path)


def test_a_run_that_ended_in_mid_epoch_goes_on(config, trained, tmp_path):
    resume(config(*STEP, "trainer.max_steps=30"), tmp_path, origin=trained(*STEP, "trainer.max_steps=15"))
    for name in ("lengths", "hyperparameters"):
        one, other = (pd.read_parquet(run / name) for run in (trained(*STEP, "trainer.max_steps=30"), tmp_path))
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_run_that_diverges_leaves_the_rows_of_the_steps_it_took(config, tmp_path):
    summary = train(Job(config("schedule=one_cycle", "optimizer.lr=1e30"), tmp_path))
    assert summary["status"] == "diverged"
    assert hyperparameters(tmp_path)["step"].tolist() == list(range(summary["steps"]))


ONE_CYCLE_LR = ("schedule=torch", "schedule._target_=torch.optim.lr_scheduler.OneCycleLR", "+schedule.max_lr=0.01")


@pytest.mark.parametrize(
    ("schedule", "named"),
    [(("schedule=one_cycle",), "OneCycle"), (("schedule=cosine",), "Cosine"), (ONE_CYCLE_LR, "OneCycleLR")],
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
        ((), ("schedule=one_cycle",), "schedule = OneCycle: the run in ckpt_path has constant, and goes on"),
        (("schedule=one_cycle",), (), "schedule = constant: the run in ckpt_path has OneCycle, and goes on"),
        (("schedule=cosine",), STEP, "schedule = Step: the run in ckpt_path has Cosine, and goes on with"),
        (STEP_LR, STEP, "schedule = Step: the run in ckpt_path has another, and goes on with"),
        (("schedule=one_cycle",), ("schedule=one_cycle", "schedule.start=0.2"), "schedule.start = 0.2: the run in"),
        (
            ("schedule=one_cycle",),
            ("schedule=one_cycle", "schedule.momentum=[0.95,0.8]"),
            "schedule.momentum = [0.95, 0.8]: the run in ckpt_path has [0.95, 0.85], and goes on with it",
        ),
        (
            ("schedule=one_cycle",),
            ("schedule=one_cycle", "schedule.momentum=null"),
            "schedule.momentum = None: the run in ckpt_path has [0.95, 0.85], and goes on with it",
        ),
        (STEP_LR, (*STEP_LR, "schedule.step_size=8"), "schedule.step_size = 8: the run in ckpt_path has 7, and goes"),
        (STEP, (*STEP, "optimizer.lr=0.02"), "optimizer.lr = 0.02: the run in ckpt_path has 0.01, and goes on with it"),
        (STEP, (*STEP, "optimizer.weight_decay=1"), "optimizer.weight_decay = 1: the run in ckpt_path has 0.0, and"),
        (STEP, (*STEP, "optimizer.momentum=0.8"), "optimizer.momentum = 0.8: the run in ckpt_path has 0.9, and goes"),
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
        history = [
            {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for record in records(tmp_path / schedule)
            if record.WhichOneof("record_type") == "history"
        ]
        sent = [row for row in history if "weight_decay" in row]
        assert len(sent) == rows
        table = hyperparameters(tmp_path / schedule).set_index("step")
        for row in sent:
            there = table.loc[row["trainer/global_step"]]
            assert [row[name] for name in ("learning_rate", "momentum")] == there[
                ["learning_rate", "momentum"]
            ].tolist()


@pytest.mark.slow
def test_two_processes_cycle_as_one_does(tmp_path):
    for name, trainer in (("one", "cpu"), ("two", "ddp_cpu")):
        finished = run("schedule=one_cycle", f"trainer={trainer}", f"hydra.run.dir={tmp_path / name}")
        assert finished.returncode == 0, finished.stderr
    one, two = (hyperparameters(tmp_path / name) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
