"""Whether two run directories hold the same run, to the bit."""

from pathlib import Path

import pandas as pd
import torch

from start_training.runs.directory import RunDirectory


def assert_same_run(one: Path, other: Path) -> None:
    assert (one / "updates").exists() == (other / "updates").exists()
    for name in ("lengths", "steps", "hyperparameters", *["updates"] * (one / "updates").exists()):
        pd.testing.assert_frame_equal(pd.read_parquet(one / name), pd.read_parquet(other / name), check_exact=True)
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    first, second = (torch.load(RunDirectory(run).checkpoint, weights_only=True)["state_dict"] for run in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert RunDirectory(one).summary()["metrics"] == RunDirectory(other).summary()["metrics"]
