"""A disk that fills up, at any moment, costs one line, no row that was written, and no run: its repetition goes on."""

import json
import random

import pandas as pd
import pytest

from start_training.runs.checkpoint import load_checkpoint
from start_training.runs.directory import TABLES, RunDirectory
from start_training.runs.metrics_file import read_metrics
from tests.full_disks import disk, enlarge
from tests.small_runs import SMALL

COMMANDS = {
    "train": ("train", *SMALL, "hydra.run.dir={}/run"),
    "sweep": ("train", "-m", *SMALL, "seed=0,1,2", "hydra.sweep.dir={}/sweep"),
    "replicas": ("train", "-m", *SMALL, "hydra/launcher=replicas", "seed=0,1,2", "hydra.sweep.dir={}/sweep"),
    "simulate": ("simulate", "nets=40", "model.depth=3", "model.width=8", "logger=csv", "progress=false",
                 "hydra.run.dir={}/run"),
}  # fmt: skip
MOST = {"train": 90, "sweep": 250, "replicas": 150, "simulate": 60}  # kB, less than the command writes
SIZES = [(name, size) for name, most in MOST.items() for size in random.Random(18).sample(range(8, most, 4), 12)]
CHOSEN = [("train", 8), ("sweep", 8), ("simulate", 60)]  # at the start, and near the end


def assert_readable(folder):
    for file in folder.rglob("summary.json"):
        assert json.loads(file.read_text())
    for run in {file.parent for file in folder.rglob("config.yaml")}:
        directory = RunDirectory(run)
        assert directory.config()
        read_metrics(directory.metrics_file)
        for table in TABLES:
            if any((run / table).glob("part-*")):
                assert len(pd.read_parquet(run / table))
        for checkpoint in (run / "checkpoints").glob("*.ckpt"):
            load_checkpoint(checkpoint)
    assert not [*folder.rglob("*.partial")]


def full_disk(shell, tmp_path, name, size):
    with disk(tmp_path / "disk", f"{size}k") as path:
        command, *words = (word.format(path) for word in COMMANDS[name])
        status, _, errors = shell(command, *words)
        assert status == 1
        [line] = [line for line in errors if not line.startswith("to resume: ")]
        assert line.startswith(f"error: {path}/")
        assert f"(device tmpfs, mounted at {path})" in line
        assert ("the sweep stops" in line) == (name in ("sweep", "replicas") and ".replicas-" not in line)
        assert_readable(path)
        enlarge(path)
        if "ckpt_path=" in line:
            words.append(f"ckpt_path={line.rpartition('ckpt_path=')[2]}")
        status, _, errors = shell(command, *words)
        assert (status, errors) == (0, [])
        states = [RunDirectory(file.parent).state for file in path.rglob("config.yaml")]
        assert states == ["completed"] * (3 if name in ("sweep", "replicas") else 1)


@pytest.mark.parametrize(("name", "size"), CHOSEN)
def test_a_full_disk_is_one_line_and_the_repetition_goes_on(shell, tmp_path, name, size):
    full_disk(shell, tmp_path, name, size)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), SIZES)
def test_a_disk_of_any_size_is_one_line(shell, tmp_path, name, size):
    full_disk(shell, tmp_path, name, size)


@pytest.mark.parametrize("size", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_wandb_adds_no_line_on_a_full_disk(shell, tmp_path, size):
    with disk(tmp_path / "disk", f"{size}k") as path:
        words = [word for word in SMALL if word != "logger=csv"]
        status, _, errors = shell("train", "-m", *words, "seed=0,1", f"hydra.sweep.dir={path}/sweep")
        assert status == 1
        assert [line.split(":")[0] for line in errors] == ["error", "to resume"]
        assert_readable(path)


def test_the_summary_of_a_run_keeps_its_results_when_the_disk_is_full(shell, tmp_path):
    with disk(tmp_path / "disk", "90k") as path:
        shell("train", *SMALL, f"hydra.run.dir={path}/run")
        summary = RunDirectory(path / "run").summary()
        assert summary["status"] == "interrupted"
        assert "No space left on device (device tmpfs" in summary["reason"]
        assert summary["seed"] == 0
        assert summary["config_hash"]
