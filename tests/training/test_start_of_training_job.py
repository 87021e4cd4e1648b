"""The start of training in summary.json, also of interrupted, killed and stopped runs."""

import shutil

import pytest

from start_training.runs.directory import RunDirectory
from tests.same_run import assert_same_run
from tests.signalling import interrupted, resume

WATCH = "callbacks=start_of_training"
STOP = "callbacks.start_of_training.stop=true"
EVERY = "callbacks.start_of_training.every_n_steps=5"
LATE = "callbacks.start_of_training.threshold=0.24"  # reached in the second epoch of 11 steps, or at step 20


def start_of(directory) -> dict:
    return RunDirectory(directory).summary()["start_of_training"]


def assert_started_alike(whole, other):
    one, two = (RunDirectory(run).summary() for run in (whole, other))
    assert one["start_of_training"]["epoch"] == 2
    for name in ("status", "reason", "steps", "epochs", "start_of_training"):
        assert two[name] == one[name], name
    assert_same_run(whole, other)


@pytest.mark.parametrize(
    ("step", "more"),
    [(11, []), (4, [EVERY]), (20, [EVERY, STOP])],
    ids=str,  # after an epoch, within an epoch, and where training starts with stop=true
)
def test_a_resumed_run_has_the_start_of_training_of_an_uninterrupted_run(config, trained, tmp_path, step, more):
    settings = config(WATCH, LATE, *more)
    interrupted(settings, tmp_path, step)
    resume(settings, tmp_path)
    assert_started_alike(trained(WATCH, LATE, *more), tmp_path)


def test_a_run_killed_between_start_and_summary_does_not_train_further(config, trained, tmp_path):
    whole, killed = trained(WATCH, LATE, STOP, EVERY), tmp_path / "killed"
    shutil.copytree(whole, killed)
    (killed / "summary.json").unlink()  # the last file that a run writes
    resume(config(WATCH, LATE, STOP, EVERY), killed)
    assert_started_alike(whole, killed)


def test_a_run_stopped_within_an_epoch_continues_with_the_next_epoch(config, trained, tmp_path):
    stopped = trained(WATCH, LATE, STOP, EVERY)  # at step 20 of 22
    longer = resume(config(WATCH, LATE, EVERY), tmp_path, origin=stopped)
    assert (longer["epochs"], longer["steps"]) == (3, 20 + 11)
    assert longer["start_of_training"] == start_of(stopped)
