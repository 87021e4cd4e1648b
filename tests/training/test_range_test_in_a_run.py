"""A range test in a job: the run is unchanged, resumes, and gives the same with two processes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from start_training.runs.directory import RunDirectory
from tests import forked
from tests.same_run import assert_same_run
from tests.signalling import interrupted, resume
from tests.small_runs import SMALL

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
CLASS = "start_training.callbacks.range_test.RangeTest"
TEST = f"+callbacks.range_test={{_target_:{CLASS},steps:30,val_points:15,val_samples:60,min_lr:1e-4,max_lr:1e9}}"


def small(**settings: object) -> str:
    """The override that adds a range test, with the given settings changed."""
    unchanged = [pair for pair in TEST[:-1].split(",") if pair.split(":")[0] not in settings]
    return ",".join([*unchanged, *(f"{name}:{value}" for name, value in settings.items())]) + "}"


def test_a_resumed_run_does_not_repeat_the_test_and_equals_an_uninterrupted_run(config, trained, tmp_path, monkeypatch):
    whole = trained(TEST)
    interrupted(config(TEST), tmp_path, 14)
    monkeypatch.setattr(f"{CLASS}._rows", lambda *_: pytest.fail("tested a second time"))
    resume(config(TEST), tmp_path)
    assert_same_run(whole, tmp_path)
    one, other = (RunDirectory(run).summary()["range_test"] for run in (whole, tmp_path))
    assert one == other


@pytest.mark.slow
def test_two_processes_give_the_range_test_of_one_process(tmp_path):
    # shares of 64 and 63, a last batch of 23 in 12 and 11; a validation set of 144 in blocks of 72
    overrides = ("datamodule.batch_size=127", "trainer.max_epochs=1")
    tested = small(steps=60, max_lr=10)
    for name, *words in (("one", tested), ("two", tested, "trainer=ddp_cpu"), ("alone", "trainer=ddp_cpu")):
        finished = forked.run(SCRIPT, *SMALL, *overrides, *words, f"hydra.run.dir={tmp_path / name}")
        assert finished.returncode == 0, finished.stderr
    assert_same_run(tmp_path / "alone", tmp_path / "two")
    one, two = (pd.read_parquet(tmp_path / name / "range_test") for name in ("one", "two"))
    stable = one["learning_rate"] < 0.03  # at larger rates rounding errors grow
    assert 8 < stable.sum() < len(one)
    for name in ("learning_rate", "train_loss", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(two[name][stable], one[name][stable], rtol=1e-4)
