"""A range test in a run of this project: the run is the same with it, alone or on two processes, and resumes."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.jobs.record import Job
from src.jobs.train import train
from src.runs.directory import RunDirectory
from src.runs.outcome import Interrupted
from tests import forked
from tests.jobs.conftest import SMALL
from tests.jobs.same_run import assert_same_run
from tests.jobs.test_resume import interrupted, resume

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
CLASS = "src.callbacks.range_test.RangeTest"
TEST = f"+callbacks.range_test={{_target_:{CLASS},steps:30,val_points:15,val_samples:60,min_lr:1e-4,max_lr:1e9}}"


def small(**settings: object) -> str:
    """The override of a test with some other settings."""
    kept = [pair for pair in TEST[:-1].split(",") if pair.split(":")[0] not in settings]
    return ",".join([*kept, *(f"{name}:{value}" for name, value in settings.items())]) + "}"


VARIANTS = [
    ["model.dropout=0.2"],
    ["optimizer=adamw", "schedule=one_cycle"],
    ["trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.5"],
]


@pytest.mark.parametrize("overrides", VARIANTS)
def test_the_run_is_the_same_to_the_bit(trained, overrides):
    tested = trained(TEST, *overrides)
    assert_same_run(trained(*overrides), tested)
    assert RunDirectory(tested).summary()["range_test"]["steps"] == len(pd.read_parquet(tested / "range_test")) > 5


def test_a_run_that_resumes_has_tested_and_goes_on_as_if_nothing_had_happened(config, trained, tmp_path, monkeypatch):
    whole = trained(TEST)
    interrupted(config(TEST), tmp_path, 14)
    curves = pd.read_parquet(tmp_path / "range_test")
    monkeypatch.setattr(f"{CLASS}._rows", lambda *_: pytest.fail("tested a second time"))
    resume(config(TEST), tmp_path)
    assert_same_run(whole, tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "range_test"), curves, check_exact=True)
    one, other = (RunDirectory(run).summary()["range_test"] for run in (whole, tmp_path))
    assert one == other


def test_a_run_that_gets_a_test_on_resuming_goes_on_at_the_right_step(config, trained, tmp_path):
    interrupted(config(), tmp_path / "cut", 14)  # in mid-epoch
    resume(config(TEST), tmp_path / "on", origin=tmp_path / "cut")
    assert_same_run(trained(), tmp_path / "on")
    before = pd.read_parquet(trained() / "steps")
    tested = pd.read_parquet(tmp_path / "on" / "range_test")
    assert tested["train_loss"][0] == pytest.approx(before["loss"][14], rel=1e-6)  # the batch that comes next


def test_alone_it_neither_trains_nor_tests_and_says_what_to_type(config, tmp_path, capsys):
    summary = train(Job(config(small(stop="true")), tmp_path))
    assert (summary["status"], summary["steps"], summary["metrics"]) == ("completed", 0, {})
    assert summary["reason"] == "range test done, training not begun (stop = true)"
    said = " ".join(capsys.readouterr().out.split())
    test = summary["range_test"]
    assert f"range test: {test['rule']}" in said
    assert f"optimizer.lr={test['max_lr']:.3g} schedule=one_cycle" in said


def test_an_interrupted_test_leaves_an_interrupted_run_that_begins_anew(config, trained, tmp_path, monkeypatch):
    from src.callbacks.trial_updates import TrialUpdates

    update = TrialUpdates.update

    def interrupting(self, rate):
        os.kill(os.getpid(), 2)
        return update(self, rate)

    with monkeypatch.context() as patch:
        patch.setattr(TrialUpdates, "update", interrupting)
        with pytest.raises(Interrupted):
            train(Job(config(TEST), tmp_path / "cut"))
    summary = RunDirectory(tmp_path / "cut").summary()
    assert (summary["status"], summary["reason"], summary["steps"]) == ("interrupted", "SIGINT received", 0)
    assert "range_test" not in summary
    assert not (tmp_path / "cut" / "range_test").exists()
    train(Job(config(TEST), tmp_path / "cut"))
    assert_same_run(trained(TEST), tmp_path / "cut")


def run(*overrides: str) -> None:
    finished = forked.run(SCRIPT, *SMALL, *overrides)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    # shares of 64 and 63, a last batch of 23 in 12 and 11; a validation set of 144 in blocks of 72
    overrides = ("datamodule.batch_size=127", "trainer.max_epochs=1")
    for name, trainer in (("one", "cpu"), ("two", "ddp_cpu")):
        run(*overrides, small(steps=60), f"trainer={trainer}", f"hydra.run.dir={tmp_path / name}")
    run(*overrides, "trainer=ddp_cpu", f"hydra.run.dir={tmp_path / 'alone'}")
    one, two = (pd.read_parquet(tmp_path / name / "range_test") for name in ("one", "two"))
    stable = one["learning_rate"] < 0.03  # beyond, roundings grow
    assert 8 < stable.sum() < len(one)
    for name in ("learning_rate", "train_loss", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(two[name][stable], one[name][stable], rtol=1e-4)
    assert_same_run(tmp_path / "alone", tmp_path / "two")
