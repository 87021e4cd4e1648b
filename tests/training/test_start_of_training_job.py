"""When training starts, through the job: what summary.json says, and that nothing that befalls a run changes it."""

import shutil

import pytest

from start_training.runs.directory import RunDirectory
from tests.same_run import assert_same_run
from tests.signalling import interrupted, resume

WATCH = "callbacks=start_of_training"
STOP = "callbacks.start_of_training.stop=true"
EVERY = "callbacks.start_of_training.every_n_steps=5"
LATE = "callbacks.start_of_training.threshold=0.24"  # by the small net in its second epoch of 11 steps, and at step 20


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
