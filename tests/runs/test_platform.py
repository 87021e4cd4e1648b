"""On (simulated) Windows, importing and a single run work, and unsupported launchers are rejected in one line."""

import subprocess
import sys

import pytest

from start_training.launchers.process_tree import check_launcher
from tests.launchers.test_traits import BASIC, JOBLIB, PROCESS, REPLICAS, SUBMITIT_LOCAL
from tests.small_runs import SMALL

# Simulates Windows for this package only: no modules fcntl and resource, and sys.platform is win32.
AS_WINDOWS = """
import builtins, sys, types
real = builtins.__import__
def imported(name, names=None, *arguments, **named):
    ours = str((names or {}).get("__name__", "")).startswith("start_training")
    if ours and name in ("fcntl", "resource"):
        raise ModuleNotFoundError(name)
    if ours and name == "sys":
        copy = types.ModuleType("sys")
        copy.__dict__.update(sys.__dict__, platform="win32")
        return copy
    return real(name, names, *arguments, **named)
builtins.__import__ = imported
from start_training.runs.directory import RunDirectory, RunDirectoryLocked
from start_training.files.open_files import raise_open_file_limit, max_open_runs
raise_open_file_limit(10)
assert max_open_runs() is None
one, other = RunDirectory("lock"), RunDirectory("lock")
one.claim({"seed": 0})
try:
    other.claim({"seed": 0})
except RunDirectoryLocked:
    print("taken")
from start_training.cli.commands import main
main("train")
"""


@pytest.mark.slow
def test_a_single_run_trains_and_its_directory_is_locked(tmp_path):
    words = [sys.executable, "-c", AS_WINDOWS, *SMALL, "hydra.run.dir=run"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("taken\n")
    assert (tmp_path / "run" / "summary.json").exists()


def test_launchers_that_need_process_groups_are_rejected_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    for target in (BASIC, REPLICAS):
        check_launcher({}, {"_target_": target})
    for target in (PROCESS, JOBLIB, SUBMITIT_LOCAL):
        with pytest.raises(ValueError, match=r"^hydra.launcher = \w+Launcher: .* use hydra/launcher=basic$"):
            check_launcher({}, {"_target_": target})
