"""The phase and test metrics through the job: what a run's directory holds, and that nothing that befalls it shows."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from src.jobs.record import Job
from src.jobs.train import train
from src.runs.directory import RunDirectory
from tests import forked
from tests.jobs.same_run import assert_same_run
from tests.jobs.test_processes import run
from tests.jobs.test_resume import interrupted, resume
from tests.jobs.test_wandb import logged, records

EVERY = "callbacks.phase.every_n_steps=4"
QUICK = ("callbacks.phase.iterations=10", "trainer.max_epochs=4", "datamodule.validation=0", "optimizer.lr=0.05")


LAYER = ("model=tanh_layer", "initializer=phase", "callbacks=phase_and_lengths", *QUICK)  # 12 steps an epoch


@pytest.fixture
def settings(config):
    """One tanh layer of the digits' 64 pixels."""
    return lambda *overrides: config(*LAYER, *overrides)


def phase(directory) -> pd.DataFrame:
    return pd.read_parquet(directory / "phase")


def epochs_of(directory) -> pd.DataFrame:
    return pd.read_csv(directory / "metrics.csv").dropna(subset=["train/loss"])


def test_a_run_leaves_its_phase_in_table_summary_and_metrics(trained):
    directory = trained(*LAYER)
    summary = RunDirectory(directory).summary()
    rows, epochs, said = phase(directory), epochs_of(directory), summary["phase"]
    per_epoch = summary["steps"] // 4
    assert rows["step"].tolist() == [per_epoch * epoch for epoch in range(5)]
    assert rows["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert set(rows["name"]) == {"hidden.linear"}
    assert (epochs["step"] + 1).tolist() == rows["step"].tolist()[1:]
    assert epochs[["test/loss", "test/accuracy"]].notna().all(axis=None)
    assert said["J"] == rows["J"].iloc[-1]
    assert said["lowest_test_loss"] == epochs["test/loss"].min() == summary["lowest_test_loss"]["loss"]
    assert said["lowest_test_loss_epoch"] == epochs["test/loss"].argmin() + 1
    assert epochs["test/loss"].iloc[-1] == pytest.approx(summary["metrics"]["test/loss"], rel=1e-5)
    assert len(list((directory / "phase").glob("*.parquet"))) == 1
    assert said["layer"] == "hidden.linear"


def test_it_says_so_in_a_line(settings, tmp_path, capsys):
    train(Job(settings(), tmp_path))
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("phase of ")]
    assert line.startswith("phase of hidden.linear: J0 ")
    assert "lowest test loss" in line
    train(Job(settings(), tmp_path / "job", overrides=("seed=0",), sweep="a"))
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("seed=0: ")]
    assert f", J {RunDirectory(tmp_path / 'job').summary()['phase']['J']:.3f}" in line


def test_watched_and_not_it_is_the_same_run(trained):
    alone = trained("model=tanh_layer", "initializer=phase", "callbacks=lengths", *QUICK[1:])
    watched = trained(*LAYER, EVERY)
    for name in ("lengths", "steps", "hyperparameters"):
        one, other = (pd.read_parquet(directory / name) for directory in (alone, watched))
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    one, other = (RunDirectory(directory).summary() for directory in (alone, watched))
    assert one["metrics"] == other["metrics"]
    assert one["clues"] == other["clues"]


@pytest.mark.parametrize(
    ("step", "more"),
    [
        (12, []),  # between epochs
        (5, [EVERY]),  # in the first, past a measurement
        (24, [EVERY]),  # where one is due, between epochs
        (9, [EVERY, "trainer.accumulate_grad_batches=2"]),
    ],
)
def test_interrupted_and_resumed_it_leaves_the_same_files(settings, trained, tmp_path, step, more):
    watched = settings(*more)
    interrupted(watched, tmp_path, step)
    resume(watched, tmp_path)
    assert_same_phases(trained(*LAYER, *more), tmp_path)


def assert_same_phases(one, other):
    assert_same_run(one, other)
    pd.testing.assert_frame_equal(phase(one), phase(other), check_exact=True)
    first, second = (RunDirectory(directory).summary() for directory in (one, other))
    for name in ("phase", "lowest_test_loss"):
        assert first[name] == second[name], name


@pytest.mark.slow
def test_killed_and_resumed_too(settings, trained, tmp_path):
    watched = settings(EVERY)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(watched))
    (tmp_path / "killed.py").write_text(f"""
import pathlib, torch, yaml
torch.set_num_threads(1)  # as here: results are bit-identical for the same number of threads
import src.jobs.train as module
from tests.jobs.signalling import SignalAtStep
module.Divergence = lambda: SignalAtStep(26, "SIGKILL")
config = yaml.safe_load(pathlib.Path({str(tmp_path / "config.yaml")!r}).read_text())
module.train(module.Job(config, pathlib.Path({str(tmp_path / "killed")!r})))
""")
    killed = forked.run(tmp_path / "killed.py")
    assert killed.returncode == -9, killed.stderr
    resume(watched, tmp_path / "killed")
    assert_same_phases(trained(*LAYER, EVERY), tmp_path / "killed")


@pytest.mark.parametrize(
    ("short", "long"),
    [("trainer.max_epochs=2", "trainer.max_epochs=4"), ("trainer.max_steps=15", "trainer.max_steps=40")],
)
def test_a_finished_run_that_goes_on_has_the_rows_of_the_longer_one(settings, trained, tmp_path, short, long):
    resume(settings(EVERY, long), tmp_path, origin=trained(*LAYER, EVERY, short))
    whole = trained(*LAYER, EVERY, *[long] * (long not in QUICK))
    pd.testing.assert_frame_equal(phase(whole), phase(tmp_path), check_exact=True)


def test_a_run_that_diverges_has_the_rows_up_to_there(config, tmp_path):
    summary = train(Job(config("callbacks=phase", "optimizer.lr=1e30", "callbacks.phase.every_n_steps=1"), tmp_path))
    assert summary["status"] == "diverged"
    rows = phase(tmp_path)
    assert rows["step"].iloc[0] == 0
    assert rows["step"].max() <= summary["steps"]
    assert np.isfinite(rows["J"].iloc[0])
    json.loads((tmp_path / "summary.json").read_text())


def test_a_net_of_many_layers_has_a_row_for_each(config, tmp_path):
    summary = train(Job(config("callbacks=phase", *QUICK), tmp_path))
    rows = phase(tmp_path)
    assert len(rows) == 3 * 5
    assert rows.groupby("layer")["lyapunov"].agg(lambda each: each.notna().all()).tolist() == [False, True, True]
    assert summary["phase"]["fan_in"] == summary["phase"]["fan_out"] == 16


def test_relu_is_not_called_ordered_or_chaotic_by_its_J(config, tmp_path, capsys):
    summary = train(Job(config("callbacks=phase", *QUICK), tmp_path))["phase"]
    assert not summary["edge_at_1"] and summary["slope"] is None
    assert phase(tmp_path)["slope"].isna().all()
    [said] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("phase of ")]
    assert "ordered" not in said and "chao" not in said.partition(";")[0]
    assert "the edge of chaos of this activation is not at J = 1" in said


def test_wandb_has_the_phase_and_the_table(settings, tmp_path):
    train(Job(settings("logger=wandb"), tmp_path))
    found = records(tmp_path)
    sent = logged(found)
    for name in ("J0", "J", "J2", "jacobian", "lyapunov"):
        assert sent[f"phase/hidden.linear/{name}"] == phase(tmp_path)[name].iloc[-1]
    assert {"test/loss", "test/accuracy"} <= sent.keys()


@pytest.mark.slow
def test_compiled_it_is_measured_alike(settings, trained, tmp_path):
    train(Job(settings("compile=true"), tmp_path))
    eager, compiled = phase(trained(*LAYER)), phase(tmp_path)
    pd.testing.assert_frame_equal(eager, compiled, rtol=1e-3)


@pytest.mark.slow
def test_two_processes_record_what_one_does(tmp_path):
    overrides = ("callbacks=phase", "datamodule.batch_size=127", EVERY)
    for name, trainer in (("one", "cpu"), ("two", "ddp_cpu")):
        finished = run(*overrides, f"trainer={trainer}", f"hydra.run.dir={tmp_path / name}")
        assert finished.returncode == 0, finished.stderr
    one, two = phase(tmp_path / "one"), phase(tmp_path / "two")
    pd.testing.assert_frame_equal(one[["step", "epoch", "name", "scaling"]], two[["step", "epoch", "name", "scaling"]])
    np.testing.assert_allclose(two["J"], one["J"], rtol=1e-3)
    first, second = (RunDirectory(tmp_path / name).summary()["lowest_test_loss"] for name in ("one", "two"))
    assert second["loss"] == pytest.approx(first["loss"], rel=2e-3)
