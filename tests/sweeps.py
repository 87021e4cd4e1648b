"""Sweeps of scripts/train.py in processes of their own, and what they leave."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd

from start_training.analysis.sweep_table import sweep_table
from start_training.runs.directory import RunDirectory
from tests.forked import ROOT, UNDRAWN, Forked
from tests.forked import start as fork
from tests.same_run import assert_same_run
from tests.small_runs import SMALL

SCRIPT = ROOT / "scripts" / "train.py"


def start(directory: Path, *overrides: str, script: Path = SCRIPT, **variables: str) -> Forked:
    """A sweep in a session of its own, as if in a terminal of its own."""
    words = ("-m", *SMALL, f"hydra.sweep.dir={directory}", *overrides)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), UNDRAWN: "1", **variables}
    return fork(script, *words, env=environment, new_session=True)


def sweep(directory: Path, *overrides: str, timeout: float = 280, **variables: str) -> CompletedProcess[str]:
    process = start(directory, *overrides, **variables)
    output, errors = process.communicate(timeout)
    return CompletedProcess(process.args, process.wait(), output, errors)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Of what goes on without a process that was started here."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def summaries(sweep: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/summary.json")}


def statuses(sweep: Path) -> list[str]:
    return sorted(summary["status"] for summary in summaries(sweep).values())


def untouched(sweep: Path) -> dict[Path, int]:
    """When each file of the finished jobs was last written."""
    finished = [run for run in sweep.iterdir() if run.is_dir() and RunDirectory(run).finished]
    return {file: file.stat().st_mtime_ns for run in finished for file in run.rglob("*") if file.name != ".lock"}


def left_over(sweep: Path) -> list[str]:
    """What lies in a sweep's directory besides runs, its list of jobs and submitit's folder."""
    return [path.name for path in sweep.iterdir() if not (path / "config.yaml").exists()
            and path.name not in ("jobs.json", ".submitit")]  # fmt: skip


def assert_same_sweep(one: Path, other: Path) -> None:
    """The same runs, to the bit, also of those that diverged, and the same table of the sweep."""
    assert summaries(one).keys() == summaries(other).keys()
    for name, summary in summaries(one).items():
        if summary["status"] == "completed":
            assert_same_run(one / name, other / name)
        for table in ("lengths", "steps"):
            frames = [pd.read_parquet(sweep / name / table) for sweep in (one, other)]
            pd.testing.assert_frame_equal(*frames, check_exact=True)
        beside = {"seconds": 0, "commit": ""}  # which may gain a -dirty while the test runs
        assert {**summary, **beside} == {**summaries(other)[name], **beside}
    tables = [sweep_table(sweep).drop(columns="seconds") for sweep in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
