"""When training starts, through the job: what summary.json says, and that nothing that befalls a run changes it."""

import json
import shutil

import pandas as pd
import pytest
import torch

from src.jobs.record import Job
from src.jobs.train import train
from src.runs.directory import RunDirectory
from tests.jobs.same_run import assert_same_run
from tests.jobs.test_processes import run
from tests.jobs.test_resume import interrupted, resume

WATCH = "callbacks=start_of_training"
STOP = "callbacks.start_of_training.stop=true"
EVERY = "callbacks.start_of_training.every_n_steps=5"
LATE = "callbacks.start_of_training.threshold=0.24"  # by the small net in its second epoch of 11 steps, and at step 20


def start_of(directory) -> dict:
    return RunDirectory(directory).summary()["start_of_training"]


def test_the_summary_says_when_training_started(config, tmp_path):
    train(Job(config(WATCH), tmp_path))
    start = start_of(tmp_path)
    assert {name: start[name] for name in ("metric", "threshold", "every_n_steps")} == {
        "metric": "test/accuracy", "threshold": 0.2, "every_n_steps": None,
    }  # fmt: skip
    assert (start["epoch"], start["step"]) == (1, 11)
    one_epoch = train(Job(config(WATCH, "trainer.max_epochs=1"), tmp_path / "one"))
    assert start["accuracy"] == pytest.approx(one_epoch["metrics"]["test/accuracy"], rel=1e-6)


@pytest.mark.parametrize("every", [[], [EVERY]], ids=["by epochs", "by steps"])
def test_stopped_there_the_run_is_the_beginning_of_the_one_that_goes_on(config, tmp_path, every):
    train(Job(config(WATCH, LATE, *every), tmp_path / "whole"))
    summary = train(Job(config(WATCH, LATE, STOP, *every), tmp_path / "stopped"))
    start = summary["start_of_training"]
    assert start == start_of(tmp_path / "whole")
    assert start["step"] == summary["steps"] < 33
    assert start["epoch"] == summary["epochs"] == 2
    assert summary["status"] == "completed"
    assert summary["reason"] == (
        f"training started in epoch 2 (step {start['step']}): test accuracy {start['accuracy']:.2%} ≥ 24%"
    )
    assert summary["metrics"]["test/accuracy"] == pytest.approx(start["accuracy"], rel=1e-6)
    assert torch.load(tmp_path / "stopped/checkpoints/last.ckpt", weights_only=True)["global_step"] == start["step"]
    whole, stopped = (pd.read_parquet(tmp_path / name / "lengths") for name in ("whole", "stopped"))
    pd.testing.assert_frame_equal(stopped, whole[whole["step"] < start["step"]], check_exact=True)


def test_a_run_that_never_gets_there_says_so(config, tmp_path):
    summary = train(Job(config(WATCH, STOP, "initializer=torch_default", "model.depth=30"), tmp_path))
    start = summary["start_of_training"]
    assert (start["epoch"], start["step"]) == (None, None)
    assert 0 < start["accuracy"] < 0.2
    assert (summary["reason"], summary["steps"]) == ("max_epochs = 3 reached", 33)


def test_a_run_that_diverges_has_not_started(config, tmp_path):
    summary = train(Job(config(WATCH, "callbacks.start_of_training.every_n_steps=1", "optimizer.lr=1e30"), tmp_path))
    assert summary["status"] == "diverged"
    assert summary["start_of_training"]["epoch"] is None
    assert summary["start_of_training"]["accuracy"] < 0.2
    summary = train(Job(config(WATCH, "optimizer.lr=1e30"), tmp_path / "before the first look"))
    assert summary["start_of_training"]["accuracy"] is None


def test_watched_and_not_it_is_the_same_run(config, tmp_path):
    train(Job(config("model.dropout=0.2"), tmp_path / "alone"))
    train(Job(config("model.dropout=0.2", WATCH, EVERY, LATE), tmp_path / "watched"))
    assert_same_run(tmp_path / "alone", tmp_path / "watched")


@pytest.mark.slow
def test_watched_and_not_it_is_the_same_compiled_run(config, tmp_path):
    train(Job(config("compile=true"), tmp_path / "alone"))
    train(Job(config("compile=true", WATCH, EVERY, LATE), tmp_path / "watched"))
    assert_same_run(tmp_path / "alone", tmp_path / "watched")


@pytest.mark.parametrize("every", [[], [EVERY]], ids=["by epochs", "by steps"])
@pytest.mark.parametrize("stop", [[], [STOP]], ids=["going on", "stopped"])
@pytest.mark.parametrize("step", [4, 11, 18, 20])  # 20: where it is also to stop
def test_interrupted_and_resumed_it_starts_as_if_left_alone(config, tmp_path, every, stop, step):
    settings = config(WATCH, LATE, *every, *stop)
    train(Job(settings, tmp_path / "whole"))
    interrupted(settings, tmp_path / "cut", step)
    resume(settings, tmp_path / "cut")
    whole, cut = (RunDirectory(tmp_path / name).summary() for name in ("whole", "cut"))
    assert whole["start_of_training"]["epoch"] == 2
    for name in ("status", "reason", "steps", "epochs", "start_of_training"):
        assert cut[name] == whole[name], name
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("every", [[], [EVERY]], ids=["by epochs", "by steps"])
def test_killed_after_the_start_and_before_it_could_say_so_a_run_trains_no_more(config, tmp_path, every):
    settings = config(WATCH, LATE, STOP, *every)
    whole = train(Job(settings, tmp_path / "whole"))
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    (tmp_path / "killed/summary.json").unlink()  # the last thing that a run writes
    again = resume(settings, tmp_path / "killed")
    assert again["start_of_training"]["epoch"] == 2
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    for name in ("status", "reason", "steps", "epochs", "start_of_training"):
        assert again[name] == whole[name], name


def test_a_run_goes_on_from_where_it_was_stopped(config, tmp_path):
    train(Job(config(WATCH, STOP), tmp_path / "stopped"))
    train(Job(config(WATCH), tmp_path / "whole"))
    resume(config(WATCH), tmp_path / "longer", origin=tmp_path / "stopped")
    assert_same_run(tmp_path / "whole", tmp_path / "longer")
    assert start_of(tmp_path / "longer") == start_of(tmp_path / "whole")


def test_a_run_stopped_in_mid_epoch_has_ended_that_epoch_and_goes_on_with_the_next(config, tmp_path):
    train(Job(config(WATCH, LATE, STOP, EVERY), tmp_path / "stopped"))  # at step 20, of 22 in two epochs
    longer = resume(config(WATCH, LATE, EVERY), tmp_path / "longer", origin=tmp_path / "stopped")
    assert (longer["epochs"], longer["steps"]) == (3, 20 + 11)
    assert longer["start_of_training"] == start_of(tmp_path / "stopped")


@pytest.mark.parametrize("setting", ["threshold=0", "threshold=20", "every_n_steps=0"])
def test_a_setting_no_run_could_use_is_named_in_full(config, tmp_path, setting):
    name, value = setting.split("=")
    with pytest.raises(ValueError, match=rf"^callbacks\.start_of_training\.{name} = {value}: "):
        train(Job(config(WATCH, f"callbacks.start_of_training.{setting}"), tmp_path))


def test_data_without_a_test_set_are_refused(config, tmp_path):
    settings = config(WATCH, "datamodule=random_inputs", "datamodule.test_samples=0")
    with pytest.raises(ValueError, match="the data has no test set"):
        train(Job(settings, tmp_path))


@pytest.mark.slow
def test_two_processes_find_the_start_that_one_does(tmp_path):
    overrides = (WATCH, LATE, STOP, EVERY, "datamodule.batch_size=127")  # the test set's 360 are shared out too
    for name, trainer in (("one", "cpu"), ("two", "ddp_cpu")):
        finished = run(*overrides, f"trainer={trainer}", f"hydra.run.dir={tmp_path / name}")
        assert finished.returncode == 0, finished.stderr
    one, two = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two"))
    assert one["start_of_training"] == two["start_of_training"]
    assert one["reason"] == two["reason"]
    assert one["steps"] == two["steps"] == one["start_of_training"]["step"]
