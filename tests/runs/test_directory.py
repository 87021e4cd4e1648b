"""What a run directory says of its run, who may write there, and what a run that begins there finds."""

import errno
import fcntl
import math
import os
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.runs.config_hash import config_hash
from start_training.runs.directory import BY_STEP, TABLES, RunDirectory, RunDirectoryLocked, finite
from start_training.runs.metrics_file import MetricsFile, read_metrics

CONFIG = {"seed": 0, "trainer": {}}
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
LISTS = st.lists(LEAVES, max_size=2)
PLAIN = st.dictionaries(st.text(max_size=2), LEAVES | st.dictionaries(st.text(max_size=2), LEAVES | LISTS, max_size=3))


def touch(path):
    path.parent.mkdir(exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    ("status", "steps", "checkpoint", "finished", "resumable", "holds_results"),
    [
        (None, 0, False, False, False, True),
        (None, 0, True, False, True, True),
        ("completed", 0, True, True, False, True),
        ("diverged", 0, False, True, False, True),
        ("failed", 0, False, False, False, False),
        ("failed", 1, False, False, False, True),
        ("failed", 0, True, False, False, True),
        ("interrupted", 0, False, False, False, False),
        ("interrupted", 1, False, False, False, True),
        ("interrupted", 0, True, False, True, True),
    ],
)
def test_how_a_run_ended_says_whether_it_goes_on_and_whether_another_may_take_its_place(
    tmp_path, status, steps, checkpoint, finished, resumable, holds_results
):
    run, looking = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    assert (looking.state, looking.holds_results, run.begun) == ("absent", False, False)
    run.begin(CONFIG)
    assert (looking.state, looking.finished, run.begun) == ("running", False, True)
    if checkpoint:
        touch(run.checkpoint)
    if status:
        run.write_summary({"status": status, "steps": steps})
    assert looking.state == "running"  # until it lets go, as the kernel does when a process dies
    run.release()
    assert looking.state == (status or "killed")
    assert (run.finished, run.resumable, run.holds_results) == (finished, resumable, holds_results)
    run.claim(CONFIG)
    run.release()
    if holds_results:
        with pytest.raises(ValueError, match="already holds a run of another config"):
            run.claim({"seed": 1})
    else:
        run.claim({"seed": 1})
        run.release()
    looking.claim(CONFIG)  # which the other, refused, does not keep it from
    looking.release()


def test_two_cannot_write_at_once(tmp_path):
    run, waiting = RunDirectory(tmp_path), RunDirectory(tmp_path)
    run.claim(CONFIG)
    run.claim(CONFIG)  # it has it
    with pytest.raises(RunDirectoryLocked, match="another process is writing"):
        waiting.claim(CONFIG)
    run.release()
    waiting.claim(CONFIG)
    waiting.release()


@pytest.mark.parametrize("readable_only", [False, True])
def test_a_run_of_another_users_is_looked_at_without_the_right_to_write(tmp_path, monkeypatch, readable_only):
    run, looking = RunDirectory(tmp_path), RunDirectory(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: not readable_only)
    run.claim(CONFIG)
    assert looking.state == "running"
    run.release()
    assert looking.state == "absent"


def test_a_short_look_is_waited_for(tmp_path, monkeypatch):
    looks, lock = [], fcntl.flock
    monkeypatch.setattr("time.sleep", lambda seconds: looks.append(seconds))

    def held(file, kind):
        if len(looks) < 4:
            raise BlockingIOError(errno.EAGAIN, "")
        lock(file, kind)

    monkeypatch.setattr(fcntl, "flock", held)
    run = RunDirectory(tmp_path)
    run.claim(CONFIG)
    run.release()
    assert len(looks) == 4 and 0.05 < sum(looks) < 0.2
    looks.clear()
    assert run.state == "absent"
    assert len(looks) == 4 and 0.005 < sum(looks) < 0.02


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_said_so_and_not_taken_for_another_process(tmp_path, monkeypatch, number):
    def refused(file, kind):
        raise OSError(number, os.strerror(number))

    run = RunDirectory(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refused)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"its file system refuses locks \(.+\), which keep two") as error:
            run.claim(CONFIG)
        assert not isinstance(error.value, RunDirectoryLocked)
        with pytest.raises(ValueError, match="refuses locks"):
            assert run.state
    for taken in (errno.EAGAIN, errno.EACCES):
        monkeypatch.setattr(fcntl, "flock", lambda file, kind, taken=taken: (_ for _ in ()).throw(OSError(taken, "")))
        with pytest.raises(RunDirectoryLocked):
            run.claim(CONFIG)


def test_what_is_no_run_is_not_taken_for_one_nor_overwritten(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/run: cannot be written to"):
        RunDirectory(tmp_path / "file" / "run").claim(CONFIG)
    run = RunDirectory(tmp_path)
    for text, message in ((None, "holds no run"), ("a: [1", "is damaged"), ("a", "is not a run's")):
        if text:
            run.config_file.write_text(text)
        with pytest.raises(ValueError, match=rf"^RUN_DIRECTORY = .*{message}"):
            run.config()
    run.config_file.unlink()
    touch(run.metrics_file)
    with pytest.raises(ValueError, match=r"holds no run, but metrics\.csv, which a run would overwrite"):
        run.claim(CONFIG)


@pytest.fixture
def cut_off(tmp_path):
    """A run that was killed, with six rows in every table and metrics."""
    run = RunDirectory(tmp_path / "run")
    run.begin(CONFIG)
    for name in TABLES:
        for half in (range(3), range(3, 6)):
            run.table(name).append(pd.DataFrame({"step": half, "value": 1.0}))
    for step in range(6):
        MetricsFile(run.path).log_metrics({"loss": 1.0}, step=step)
    touch(run.checkpoint)
    yield run
    run.release()


def rows(run):
    tables = {name: len(read) for name in TABLES if (read := run.table(name).read()) is not None}
    return tables | {"metrics": len(read_metrics(run.metrics_file))}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_run_that_goes_on_has_the_steps_before_and_all_of_its_range_test(cut_off, tmp_path, elsewhere):
    run = RunDirectory(tmp_path / "other") if elsewhere else cut_off
    run.begin(CONFIG, resume_from=cut_off.checkpoint, step=4)
    assert rows(run) == {**dict.fromkeys(BY_STEP, 4), "range_test": 6, "metrics": 4}
    assert cut_off.checkpoint.exists()
    if elsewhere:
        assert rows(cut_off) == dict.fromkeys([*TABLES, "metrics"], 6)
        run.release()
    run.compact()
    assert {len(list((run.path / name).iterdir())) for name in TABLES} == {1}
    assert rows(run)["lengths"] == 4


def test_a_run_that_begins_anew_has_nothing_of_the_one_before(cut_off):
    cut_off.write_summary({"status": "failed", "steps": 6})
    touch(cut_off.figure)
    cut_off.begin(CONFIG)
    assert rows(cut_off) == {"metrics": 0}
    assert cut_off.summary() is None
    assert not cut_off.checkpoint.exists() and not cut_off.figure.exists()


@given(PLAIN, st.floats())
def test_config_and_summary_are_read_back_as_they_were_written(plain, number):
    with TemporaryDirectory() as folder:
        run = RunDirectory(folder)
        run.begin(plain)
        assert run.config() == plain
        assert config_hash(run.config()) == config_hash(plain)
        run.write_summary({"all": plain, "one": [number]})
        run.release()
        assert run.summary() == {"all": finite(plain), "one": [number if math.isfinite(number) else None]}
        assert finite(finite(plain)) == finite(plain)
        assert finite((math.inf, {"a": [number]})) == [None, {"a": [number if math.isfinite(number) else None]}]
