"""Run directories: the state of the run, the lock, and the files that a new or resumed run starts from."""

import errno
import fcntl
import math
import os
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.files.damaged_file import DamagedFile
from start_training.runs.config_hash import config_hash
from start_training.runs.directory import BY_STEP, TABLES, RunDirectory, RunDirectoryLocked
from start_training.runs.documents import finite
from start_training.runs.metrics_file import MetricsFile, read_metrics
from start_training.runs.table import COLUMNS

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
def test_the_summary_determines_whether_a_run_can_resume_and_whether_another_config_may_claim(
    tmp_path, status, steps, checkpoint, finished, resumable, holds_results
):
    run, reader = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    assert (reader.state, reader.holds_results, run.begun) == ("absent", False, False)
    run.begin(CONFIG)
    assert (reader.state, reader.finished, run.begun) == ("running", False, True)
    if checkpoint:
        touch(run.checkpoint)
    if status:
        run.write_summary({"status": status, "steps": steps})
    assert reader.state == "running"  # until the lock is released, as when a process dies
    run.release()
    assert reader.state == (status or "killed")
    assert (run.finished, run.resumable, run.holds_results) == (finished, resumable, holds_results)
    run.claim(CONFIG)
    run.release()
    if holds_results:
        with pytest.raises(ValueError, match="already holds a run of another config"):
            run.claim({"seed": 1})
    else:
        run.claim({"seed": 1})
        run.release()
    reader.claim(CONFIG)  # a rejected claim holds no lock
    reader.release()


def test_only_one_process_can_claim_a_directory(tmp_path):
    run, waiting = RunDirectory(tmp_path), RunDirectory(tmp_path)
    run.claim(CONFIG)
    run.claim(CONFIG)  # claiming again does nothing
    with pytest.raises(RunDirectoryLocked, match="another process is writing"):
        waiting.claim(CONFIG)
    run.release()
    waiting.claim(CONFIG)
    waiting.release()


@pytest.mark.parametrize("readable_only", [False, True])
def test_the_state_can_be_read_without_write_permission(tmp_path, monkeypatch, readable_only):
    run, reader = RunDirectory(tmp_path), RunDirectory(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: not readable_only)
    run.claim(CONFIG)
    assert reader.state == "running"
    run.release()
    assert reader.state == "absent"


def test_a_lock_that_is_held_for_a_moment_is_waited_for(tmp_path, monkeypatch):
    pauses, lock = [], fcntl.flock
    monkeypatch.setattr("time.sleep", lambda seconds: pauses.append(seconds))

    def held(file, kind):
        if len(pauses) < 4:
            raise BlockingIOError(errno.EAGAIN, "")
        lock(file, kind)

    monkeypatch.setattr(fcntl, "flock", held)
    run = RunDirectory(tmp_path)
    run.claim(CONFIG)
    run.release()
    assert len(pauses) == 4 and 0.05 < sum(pauses) < 0.2


def test_processes_that_look_at_one_run_at_the_same_time_do_not_see_each_other(tmp_path):
    """Each of them sees the run as it is, also a claim that a forked process has the lock's file open after."""
    run = RunDirectory(tmp_path)
    run.claim(CONFIG)
    descriptor = os.dup(run._lock.file.fileno())
    run.release()
    with (tmp_path / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert RunDirectory(tmp_path).state == "absent"
        fcntl.flock(file, fcntl.LOCK_EX)
        assert RunDirectory(tmp_path).state == "running"
    os.close(descriptor)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_reported_as_such_and_not_as_a_locked_directory(tmp_path, monkeypatch, number):
    def refused(file, kind):
        raise OSError(number, os.strerror(number))

    run = RunDirectory(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refused)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"its file system does not support file locks \(.+\), which prevent"
        ) as error:
            run.claim(CONFIG)
        assert not isinstance(error.value, RunDirectoryLocked)
        with pytest.raises(ValueError, match="does not support file locks"):
            assert run.state
    for code in (errno.EAGAIN, errno.EACCES):
        monkeypatch.setattr(fcntl, "flock", lambda file, kind, code=code: (_ for _ in ()).throw(OSError(code, "")))
        with pytest.raises(RunDirectoryLocked):
            run.claim(CONFIG)


def test_a_directory_that_holds_no_run_is_rejected_and_not_overwritten(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/run: not writable"):
        RunDirectory(tmp_path / "file" / "run").claim(CONFIG)
    run = RunDirectory(tmp_path)
    with pytest.raises(ValueError, match=r"^RUN_DIRECTORY = .*not a run directory"):
        run.config()
    for text, message in (("a: [1", "unreadable or damaged"), ("a", "not the config of a run"), ("seed: 1", "cut off")):
        run.config_file.write_text(text)
        with pytest.raises(DamagedFile, match=rf"config\.yaml: .*{message}"):
            run.config()
    run.config_file.unlink()
    touch(run.metrics_file)
    with pytest.raises(ValueError, match=r"not a run directory, but it holds metrics\.csv, which a run would"):
        run.claim(CONFIG)


@pytest.fixture
def cut_off(tmp_path):
    """A run that was killed, with six rows in every table and in metrics.csv."""
    run = RunDirectory(tmp_path / "run")
    run.begin(CONFIG)
    for name in TABLES:
        for half in (range(3), range(3, 6)):
            columns = {column: "a" if column == "name" else 1.0 for column in COLUMNS[name]}
            run.table(name).append(pd.DataFrame(columns | {"step": half}))
    for step in range(6):
        MetricsFile(run.path).log_metrics({"loss": 1.0}, step=step)
    touch(run.checkpoint)
    yield run
    run.release()


def rows(run):
    tables = {name: len(read) for name in TABLES if (read := run.table(name).read()) is not None}
    return tables | {"metrics": len(read_metrics(run.metrics_file))}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_resumed_run_has_the_rows_of_earlier_steps_and_all_rows_of_its_range_test(cut_off, tmp_path, elsewhere):
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


def test_a_new_run_has_no_files_of_the_previous_one(cut_off):
    cut_off.write_summary({"status": "failed", "steps": 6})
    touch(cut_off.figures / "lengths.png")
    cut_off.begin(CONFIG)
    assert rows(cut_off) == {"metrics": 0}
    assert cut_off.summary() is None
    assert not cut_off.checkpoint.exists() and not cut_off.figures.exists()


@given(PLAIN, st.floats())
def test_config_and_summary_are_read_back_as_they_were_written(plain, number):
    with TemporaryDirectory() as folder:
        run, plain = RunDirectory(folder), {"seed": 0, **plain}
        run.begin(plain)
        assert run.config() == plain
        assert config_hash(run.config()) == config_hash(plain)
        run.write_summary({"status": "failed", "all": plain, "one": [number]})
        run.release()
        assert run.summary() == {
            "status": "failed",
            "all": finite(plain),
            "one": [number if math.isfinite(number) else None],
        }
        assert finite(finite(plain)) == finite(plain)
        assert finite((math.inf, {"a": [number]})) == [None, {"a": [number if math.isfinite(number) else None]}]
