"""Tests that the comparison of two commits detects a last bit in every kind of file, and ignores times and hashes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tests.golden.compare import COMMANDS, difference, differences

CONFIG = {"seed": 0, "model": {"_target_": "src.models.Net", "depth": 3}}
LAST_BIT = float(np.nextafter(1.0, 2.0))


def write_run(
    folder: Path, name: str, target: str = "src.models.Net", value: float = 1.0, seconds: float = 1.0
) -> Path:
    """Write a run to a directory of this name, with a number in each kind of file."""
    run = folder / name
    run.mkdir(parents=True)
    config = {**CONFIG, "model": {**CONFIG["model"], "_target_": target}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "summary.json").write_text(json.dumps({"value": value, "seconds": seconds, "config_hash": name}))
    pd.DataFrame({"value": [1.0, value], "directory": name}).to_parquet(run / "table.parquet")
    pd.DataFrame({"value": [np.nan, value], "seconds": seconds}).to_csv(run / "metrics.csv")
    torch.save({"weights": {"a": torch.tensor([value], dtype=torch.float64)}}, run / "last.ckpt")
    np.savez(run / "arrays.npz", value=np.array([value]))
    return folder


def test_times_hashes_and_modules_of_classes_are_ignored(tmp_path):
    base = write_run(tmp_path / "base", "0123456789ab")
    head = write_run(tmp_path / "head", "ba9876543210", target="start_training.models.Net", seconds=2.0)
    assert list(differences(base, head)) == []


def test_a_last_bit_is_detected_in_every_kind_of_file(tmp_path):
    base, head = (
        write_run(tmp_path / "base", "0123456789ab"),
        write_run(tmp_path / "head", "0123456789ab", value=LAST_BIT),
    )
    by_file = {where.rpartition("/")[2].partition(":")[0]: what for where, what in differences(base, head)}
    assert by_file.keys() == {"summary.json", "table.parquet", "metrics.csv", "last.ckpt", "arrays.npz"}
    assert set(by_file.values()) == {"relative 2.22e-16"}


def test_a_missing_file_or_another_class_is_named(tmp_path):
    base = write_run(tmp_path / "base", "run")
    head = write_run(tmp_path / "head", "run", target="src.models.Other")
    (head / "run" / "more.json").write_text("{}")
    assert list(differences(base, head)) == [
        ("run/more.json", "only in HEAD"), ("run/config.yaml:model._target_", "'Net' is 'Other'")
    ]  # fmt: skip


@pytest.mark.parametrize("base, head", [(1, 1.0), (1, True), ([1.0], [1.0, 2.0]), (np.nan, 1.0), ("a", "b"), (None, 0)])
def test_values_of_another_type_shape_or_text_differ(base, head):
    assert difference(base, head) and difference(head, base)
    assert not difference(base, base) and not difference(head, head)


def test_every_kind_of_command_is_compared():
    assert {script for script, *_ in COMMANDS.values()} == {
        "train", "simulate", "range_test", "search", "recipe", "diagnose", "phase_diagram", "weight_decay"
    }  # fmt: skip
