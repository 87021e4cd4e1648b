"""Every damage to every file of a sweep, one at a time: it is named, costs no other job anything, and no checkpoint."""

import random
import shutil
from pathlib import Path

import pandas as pd
import pytest

from start_training.runs.directory import RunDirectory
from tests.runs.test_damaged_files import DAMAGE
from tests.signalling import interrupted
from tests.small_runs import SMALL

WORDS = (*SMALL, "seed=0,1,2,3", "hydra.sweep.dir=sweep")


def foreign(path: Path) -> None:
    """Add files that are no parts to the folder of a file."""
    (path.parent / "x.parquet").write_text("text")
    pd.DataFrame({"step": [10**6], "other": [1]}).to_parquet(path.parent / "part-000001000000.parquet")


DAMAGES = {**DAMAGE, "foreign": foreign}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep of three finished jobs and one that was interrupted in its third epoch."""
    from tests.small_runs import composed

    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["scripts/train.py", "-m", *WORDS])
        from start_training.cli.commands import main

        main("train")
    run = next(run for run in map(RunDirectory, (folder / "sweep").iterdir())
               if run.config_file.exists() and run.config()["seed"] == 3)  # fmt: skip
    config, path = run.config(), run.path
    shutil.rmtree(path)
    assert composed("seed=3") == config
    interrupted(config, path, 25)
    return folder / "sweep"


def contents(folder: Path) -> dict[str, bytes]:
    passed = (".lock", ".hydra")
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*")
            if file.is_file() and not any(word in str(file) for word in passed)}  # fmt: skip


def checkpoints(folder: Path) -> int:
    return len([file for file in folder.rglob("last.ckpt*") if not file.name.startswith(".")])


def cases(sweep: Path) -> list[tuple[str, str]]:
    files = sorted(name for name in contents(sweep) if not name.endswith((".png", ".log")))
    return [(name, damage) for name in files for damage in DAMAGES]


def check(case: tuple[str, str], whole: Path, folder: Path, shell) -> list[str]:
    """Damage one file, then draw, report, evaluate and start the sweep again; return what went wrong."""
    name, damage = case
    sweep = folder / "sweep"
    shutil.rmtree(sweep, ignore_errors=True)
    shutil.copytree(whole, sweep)
    DAMAGES[damage](sweep / name)
    job = sweep / Path(name).parts[0]
    others = [run for run in sweep.iterdir() if run.is_dir() and run != job and RunDirectory(run).finished]
    before, wrong = {run: contents(run) for run in others}, []
    calls = [("draw", "start", "sweep"), ("report", "sweep", "--output", "page.html"), ("train", "-m", *WORDS)]
    for call in [*calls, ("evaluate", str(job.relative_to(folder)))] if job.is_dir() else calls:
        try:
            _, _, errors = shell(*call)
        except Exception as error:
            wrong.append(f"{case}: {call[0]}: {type(error).__name__}: {error}")
            continue
        if any("Traceback" in line for line in errors):
            wrong.append(f"{case}: {call[0]}: {errors[-1]}")
    wrong += [f"{case}: {run.name} changed" for run in others if contents(run) != before[run]]
    if job.is_dir() and "ckpt" not in name and not checkpoints(job):
        wrong.append(f"{case}: no checkpoint is left")
    if "metrics.csv" in name and damage != "foreign" and not RunDirectory(job).finished:
        wrong.append(f"{case}: the job has not finished")
    return wrong


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_damaged_file_costs_no_other_job_anything(whole, tmp_path, shell):
    """A sample: all cases take 20 minutes."""
    chosen = random.Random(4).sample(cases(whole), 25)
    assert not [line for case in chosen for line in check(case, whole, tmp_path, shell)]
