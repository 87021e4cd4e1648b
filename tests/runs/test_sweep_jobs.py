"""The list of a sweep's jobs, and what a run directory says of its run."""

import fcntl

import pytest

from src.runs.directory import RunDirectory, Taken
from src.runs.sweep import SweepJob, add_jobs, read_jobs, states

CONFIG = {"seed": 0, "trainer": {}}


def test_the_list_grows_keeps_its_order_and_holds_each_job_once(tmp_path):
    first, second, third = (SweepJob(str(k), (f"seed={k}",)) for k in range(3))
    add_jobs(tmp_path, [first, second])
    add_jobs(tmp_path, [third, second])
    assert read_jobs(tmp_path) == [first, second, third]
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.json"]
    assert read_jobs(tmp_path / "elsewhere") == []


@pytest.mark.parametrize(
    ("status", "checkpoint", "finished", "resumable"),
    [
        ("completed", True, True, False),
        ("diverged", True, True, False),
        ("failed", True, False, False),
        ("interrupted", True, False, True),
        ("interrupted", False, False, False),
    ],
)
def test_only_what_was_cut_off_is_resumed_and_only_what_ended_is_finished(
    tmp_path, status, checkpoint, finished, resumable
):
    run = RunDirectory(tmp_path)
    run.begin(CONFIG)
    if checkpoint:
        run.checkpoint.parent.mkdir()
        run.checkpoint.touch()
    run.write_summary({"status": status, "steps": 1})
    run.release()
    assert (run.state, run.finished, run.resumable) == (status, finished, resumable)


def test_a_run_is_absent_running_or_killed_and_looking_takes_nothing_away(tmp_path):
    job = SweepJob("a", ())
    run = RunDirectory(tmp_path / job.directory)
    assert states(tmp_path, [job]) == ["absent"]
    run.begin(CONFIG)
    assert states(tmp_path, [job]) == ["running"]
    with pytest.raises(Taken, match="another process is writing"):
        RunDirectory(run.path).claim(CONFIG)
    run.release()  # as the kernel does when the process dies
    assert states(tmp_path, [job]) == ["killed"]
    assert not run.resumable
    run.checkpoint.parent.mkdir()
    run.checkpoint.touch()
    assert run.resumable


def test_who_looks_at_a_run_keeps_nobody_from_writing_it(tmp_path):
    run = RunDirectory(tmp_path)
    run.begin(CONFIG)
    run.release()
    with (tmp_path / ".lock").open() as onlooker:
        fcntl.flock(onlooker, fcntl.LOCK_SH)
        waiting = RunDirectory(tmp_path)
        with pytest.raises(Taken):  # as long as it is held: the test can fail
            waiting.claim(CONFIG)
        fcntl.flock(onlooker, fcntl.LOCK_UN)
        waiting.claim(CONFIG)
        waiting.release()
