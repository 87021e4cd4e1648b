"""Which tables a run that goes on at a step keeps."""

import pandas as pd
import pytest

from src.runs.directory import BY_STEP, TABLES, RunDirectory

CONFIG = {"seed": 0}


@pytest.fixture
def run(tmp_path):
    """A run that was cut off, with six rows in every table."""
    run = RunDirectory(tmp_path / "run")
    run.begin(CONFIG)
    for name in TABLES:
        run.table(name).append(pd.DataFrame({"step": range(6), "value": 1.0}))
    run.checkpoint.parent.mkdir()
    run.checkpoint.touch()
    yield run
    run.release()


def rows(run):
    return {name: len(read) for name in TABLES if (read := run.table(name).read()) is not None}


def test_a_run_that_goes_on_has_the_steps_before_and_all_of_its_range_test(run):
    run.begin(CONFIG, resume_from=run.checkpoint, step=4)
    assert rows(run) == {**dict.fromkeys(BY_STEP, 4), "range_test": 6}


def test_elsewhere_too(run, tmp_path):
    other = RunDirectory(tmp_path / "other")
    other.begin(CONFIG, resume_from=run.checkpoint, step=4)
    other.release()
    assert rows(other) == {**dict.fromkeys(BY_STEP, 4), "range_test": 6}
    assert rows(run) == dict.fromkeys(TABLES, 6)


def test_a_run_that_begins_anew_has_none(run):
    run.begin(CONFIG)
    assert rows(run) == {}
