"""When training starts, through the job: what summary.json says, and that nothing that befalls a run changes it."""

import shutil

import pandas as pd
import pytest
import torch

from start_training.runs.directory import RunDirectory
from tests.jobs.same_run import assert_same_run
from tests.jobs.test_processes import run
from tests.jobs.test_resume import interrupted, resume

WATCH = "callbacks=start_of_training"
STOP = "callbacks.start_of_training.stop=true"
EVERY = "callbacks.start_of_training.every_n_steps=5"
LATE = "callbacks.start_of_training.threshold=0.24"  # by the small net in its second epoch of 11 steps, and at step 20


def start_of(directory) -> dict:
    return RunDirectory(directory).summary()["start_of_training"]


def test_the_summary_says_when_training_started(trained):
    start = start_of(trained(WATCH))
    assert (start["epoch"], start["step"]) == (1, 11)
    one_epoch = RunDirectory(trained("trainer.max_epochs=1")).summary()["metrics"]
    assert start["accuracy"] == pytest.approx(one_epoch["test/accuracy"], rel=1e-6)


@pytest.mark.parametrize("every", [[], [EVERY]], ids=["by epochs", "by steps"])
def test_stopped_there_the_run_is_the_beginning_of_the_one_that_goes_on(trained, every):
    whole, stopped = trained(WATCH, LATE, *every), trained(WATCH, LATE, STOP, *every)
    summary = RunDirectory(stopped).summary()
    start = summary["start_of_training"]
    assert start == start_of(whole)
    assert start["step"] == summary["steps"] < 33
    assert start["epoch"] == summary["epochs"] == 2
    assert summary["status"] == "completed"
    assert summary["reason"] == (
        f"training started in epoch 2 (step {start['step']}): test accuracy {start['accuracy']:.2%} ≥ 24%"
    )
    assert summary["metrics"]["test/accuracy"] == pytest.approx(start["accuracy"], rel=1e-6)
    assert torch.load(stopped / "checkpoints/last.ckpt", weights_only=True)["global_step"] == start["step"]
    all_rows, rows = (pd.read_parquet(run / "lengths") for run in (whole, stopped))
    pd.testing.assert_frame_equal(rows, all_rows[all_rows["step"] < start["step"]], check_exact=True)


def test_watched_and_not_it_is_the_same_run(trained):
    assert_same_run(trained("model.dropout=0.2"), trained("model.dropout=0.2", WATCH, EVERY, LATE))


def assert_started_alike(whole, other):
    one, two = (RunDirectory(run).summary() for run in (whole, other))
    assert one["start_of_training"]["epoch"] == 2
    for name in ("status", "reason", "steps", "epochs", "start_of_training"):
        assert two[name] == one[name], name
    assert_same_run(whole, other)


@pytest.mark.parametrize(
    ("step", "more"),
    [(11, []), (4, [EVERY]), (20, [EVERY, STOP])],
    ids=str,  # after an epoch, in mid-epoch, and where it starts and is to stop
)
def test_interrupted_and_resumed_it_starts_as_if_left_alone(config, trained, tmp_path, step, more):
    settings = config(WATCH, LATE, *more)
    interrupted(settings, tmp_path, step)
    resume(settings, tmp_path)
    assert_started_alike(trained(WATCH, LATE, *more), tmp_path)


def test_killed_after_the_start_and_before_it_could_say_so_a_run_trains_no_more(config, trained, tmp_path):
    whole, killed = trained(WATCH, LATE, STOP, EVERY), tmp_path / "killed"
    shutil.copytree(whole, killed)
    (killed / "summary.json").unlink()  # the last thing that a run writes
    resume(config(WATCH, LATE, STOP, EVERY), killed)
    assert_started_alike(whole, killed)


def test_a_run_stopped_in_mid_epoch_has_ended_that_epoch_and_goes_on_with_the_next(config, trained, tmp_path):
    stopped = trained(WATCH, LATE, STOP, EVERY)  # at step 20, of 22 in two epochs
    longer = resume(config(WATCH, LATE, EVERY), tmp_path, origin=stopped)
    assert (longer["epochs"], longer["steps"]) == (3, 20 + 11)
    assert longer["start_of_training"] == start_of(stopped)


@pytest.mark.slow
def test_two_processes_find_the_start_that_one_does(tmp_path):
    overrides = (WATCH, LATE, STOP, EVERY, "datamodule.batch_size=127")  # the test set's 360 are shared out too
    for name, trainer in (("one", "cpu"), ("two", "ddp_cpu")):
        finished = run(*overrides, f"trainer={trainer}", f"hydra.run.dir={tmp_path / name}")
        assert finished.returncode == 0, finished.stderr
    one, two = (RunDirectory(tmp_path / name).summary() for name in ("one", "two"))
    assert one["start_of_training"] == two["start_of_training"]
    assert one["reason"] == two["reason"]
    assert one["steps"] == two["steps"] == one["start_of_training"]["step"]
