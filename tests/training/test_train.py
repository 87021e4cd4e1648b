"""The files that a run writes, and process settings that it restores."""

import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
import wandb
from matplotlib.image import imread

from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected
from start_training.reports.run_report import predicted_log
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.evaluate import evaluate
from start_training.training.train import train


@pytest.fixture
def run(trained):
    return RunDirectory(trained())


def test_the_summary_has_status_and_origin_of_the_run(run):
    summary = run.summary()
    assert (summary["status"], summary["reason"]) == ("completed", "max_epochs = 3 reached")
    assert (summary["steps"], summary["epochs"], summary["seed"]) == (33, 3, 0)
    assert summary["metrics"].keys() == {"train/loss", "val/loss", "val/accuracy", "test/loss", "test/accuracy"}
    assert summary["versions"]["torch"] == torch.__version__.split("+")[0]
    assert len(summary["config_hash"]) == 12 and summary["seconds"] > 0
    assert len(summary["commit"].removesuffix("-dirty")) == 40
    assert torch.load(run.checkpoint, weights_only=True)["global_step"] == 33  # plain data


def test_tables_hold_every_layer_of_every_step_and_the_two_failure_modes(run):
    lengths, steps = (pd.read_parquet(run.path / table) for table in ("lengths", "steps"))
    assert lengths["step"].tolist() == np.repeat(range(33), 4).tolist()
    assert lengths["name"][:4].tolist() == ["input", *(f"hidden.{j}.activation" for j in range(3))]
    assert (lengths["count"] == np.where(lengths["step"] % 11 == 10, 1293 - 10 * 128, 128)).all()
    assert len(list((run.path / "lengths").glob("*.parquet"))) == 1  # compacted
    assert steps["epoch"].tolist() == np.repeat(range(3), 11).tolist()
    assert steps["first_nonfinite_layer"].isna().all()
    means = lengths.pivot(index="step", columns="layer", values="mean").to_numpy()
    np.testing.assert_allclose(steps["growth_rate"], np.polyfit(range(4), np.log(means).T, 1)[0], rtol=1e-9)


def test_metrics_have_a_row_per_epoch_and_one_for_the_test(run):
    metrics = pd.read_csv(run.metrics_file)
    assert metrics["step"].tolist() == [10, 21, 32, 33]
    assert metrics["train/loss"][:3].is_monotonic_decreasing
    steps = pd.read_parquet(run.path / "steps")
    sizes = np.array([128] * 10 + [13])
    by_hand = [np.average(steps["loss"][11 * e : 11 * (e + 1)], weights=sizes) for e in range(3)]
    np.testing.assert_allclose(metrics["train/loss"][:3], by_hand, rtol=1e-6)


@pytest.mark.figure
def test_the_figures_are_pictures_and_evaluating_the_run_again_gives_the_same_metrics(config, tmp_path):
    metrics = train(Job(config("trainer.max_epochs=1"), tmp_path))["metrics"]
    figures = RunDirectory(tmp_path).figures
    names = {f"{name}.{kind}" for name in ("lengths", "lengths_over_time") for kind in ("png", "pdf")}
    assert {file.name for file in figures.iterdir()} == names
    assert all(min(imread(file).shape[:2]) > 300 for file in figures.glob("*.png"))
    assert evaluate(tmp_path) == {name: metrics[name] for name in ("test/loss", "test/accuracy")}


def test_a_run_that_diverges_ends_without_an_error(trained):
    run = RunDirectory(trained("optimizer.lr=1e30"))
    summary, steps = run.summary(), pd.read_parquet(run.path / "steps")
    assert summary["status"] == "diverged"
    assert summary["reason"] == f"the training loss at step {steps['step'].max()} is not finite"
    assert np.isfinite(steps["loss"]).tolist() == [True] * (len(steps) - 1) + [False]
    assert summary["steps"] == len(steps) < 11
    assert "test/loss" not in summary["metrics"]


def test_early_stopping_completes_a_run_and_is_its_reason(trained):
    stopping = "{_target_:pytorch_lightning.callbacks.EarlyStopping,monitor:val/loss,mode:max,patience:1}"
    summary = RunDirectory(trained(f"+callbacks.stop={stopping}")).summary()
    assert (summary["status"], summary["epochs"]) == ("completed", 2)
    assert summary["reason"] == "stopped early: val/loss did not improve for 1 epochs"


def test_a_job_restores_process_settings(config, tmp_path):
    def everything():
        handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
        return dict(os.environ), handlers, torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()

    before = everything()
    train(Job(config("+trainer.deterministic=true", "trainer.max_steps=1"), tmp_path))
    assert before == everything()
    assert wandb.run is None


def test_without_the_callback_training_is_the_same(trained, run):
    other = RunDirectory(trained("callbacks=none"))
    assert other.summary()["metrics"] == run.summary()["metrics"] and not (other.path / "lengths").exists()


def test_config_groups_can_be_combined(trained):
    """A residual net with mixed precision, and a job with random inputs without validation."""
    residual = ("model=residual", "model.modules=3", "model.scales=power", "model.ending=linear")
    drawing = ("model.widths=[30,10]", "model.activation=gelu", "model.dropout=0.1", "initializer=orthogonal",
               "readout_initializer=glorot_uniform", "optimizer=adam", "datamodule=random_inputs")  # fmt: skip
    for overrides in ((*residual, "trainer.precision=bf16-mixed"), (*drawing, "datamodule.validation=0")):
        assert RunDirectory(trained("trainer.max_epochs=1", *overrides)).state == "completed"


@pytest.mark.slow
def test_a_compiled_job_is_measured_after_one_without_hooks(config, tmp_path):
    for callbacks in ("none", "lengths"):
        settings = config("compile=true", f"callbacks={callbacks}", "trainer.max_epochs=1")
        assert train(Job(settings, tmp_path / callbacks))["status"] == "completed"
    assert len(pd.read_parquet(tmp_path / "lengths/lengths")) == 11 * 4


def test_lengths_are_predicted_only_for_the_layers_of_the_theory():
    net, initializer = FullyConnected(4, 2, depth=3, width=8, activation="relu"), VarianceScaling(1.0)
    predicted = predicted_log(net, initializer, np.array([2.0, 1, 1, 1]))
    np.testing.assert_allclose(predicted, np.log(2) - np.log(2) * np.arange(4))  # a factor kappa / 2 per layer
    assert predicted_log(net, initializer, np.array([2.0, 1, 1])) is None
    assert predicted_log(net, initializer, np.array([0.0, 1, 1, 1])) is None
