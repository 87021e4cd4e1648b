"""Runs of other tasks than classification: metrics, the start of training, the range test and the summary."""

import pandas as pd
import pytest
import torch

from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.evaluate import evaluate
from start_training.training.train import train

REGRESSION = ("task=regression", "datamodule=friedman", "model.depth=1", "optimizer.lr=0.1")


class Labels(TensorDataModule):
    """Three labels, the signs of three linear functions of the inputs."""

    input_shape = (5,)
    labels = 3

    def load(self):
        inputs = torch.randn(700, 5, generator=torch.Generator().manual_seed(0))
        samples = Samples(inputs, (inputs[:, :3] > 0).long())
        return samples.take(torch.arange(500)), samples.take(torch.arange(500, 700))


def test_a_regression_logs_and_reports_r2_and_can_be_evaluated_again(trained, capsys):
    directory = trained(*REGRESSION, "callbacks=start_of_training", "trainer.max_epochs=10")
    summary = RunDirectory(directory).summary()
    metrics = summary["metrics"]
    assert metrics.keys() == {"train/loss", "val/loss", "val/r2", "test/loss", "test/r2"}
    assert summary["objective"] == metrics["val/loss"]
    assert metrics["test/r2"] > 0.5 and metrics["test/r2"] == pytest.approx(1 - metrics["test/loss"], abs=0.2)
    start = summary["start_of_training"]
    assert start["metric"] == "test/r2" and start["epoch"] and start["r2"] >= 0.2
    assert evaluate(directory)["test/r2"] == pytest.approx(metrics["test/r2"])


def test_a_range_test_of_a_regression_follows_r2(config, tmp_path, capsys):
    test = {"stop": "true", "steps": 60, "val_points": 30, "min_lr": 0.001, "adaptive": "false"}
    changed = [f"callbacks.range_test.{name}={value}" for name, value in test.items()]
    settings = config(*REGRESSION, "callbacks=range_test", *changed)
    summary = train(Job(settings, tmp_path / "run"))
    table = pd.read_parquet(tmp_path / "run" / "range_test")
    assert table["val_accuracy"].isna().all() and table["val_r2"].notna().sum() >= 20
    assert summary["range_test"]["best_val_r2"] == table["val_r2"].max() > 0.3
    assert 0.01 < summary["range_test"]["max_lr"] < 3 and "best R²" in capsys.readouterr().out


def test_several_labels_per_sample_with_a_loss_of_the_users(config, tmp_path):
    loss = {"_target_": "torch.nn.BCEWithLogitsLoss", "reduction": "mean"}
    settings = config("task=multilabel", "datamodule=friedman", "optimizer.lr=0.1", "trainer.max_epochs=20")
    settings["datamodule"] = {"_target_": f"{__name__}.Labels"}  # gets the seed of the config, and its own batch size
    own = train(Job({**settings, "task": {**settings["task"], "loss": loss}}, tmp_path / "own"))
    default = train(Job(settings, tmp_path / "default"))
    assert default["metrics"] == own["metrics"] and own["metrics"]["test/accuracy"] > 0.9
    assert default["config_hash"] != own["config_hash"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=regression"], "task = regression: needs numbers as targets, but Digits has 10 classes"),
        (["datamodule=friedman"], "task = classification: needs class numbers, but the targets are of torch.float32"),
        (["task=multilabel"], "task = multilabel: needs 0 or 1 for each sample and label"),
        (["task.outputs=0"], "task.outputs = 0: must be a whole number of at least 1"),
    ],
)
def test_data_of_another_task_are_an_error_of_one_line(config, tmp_path, overrides, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        train(Job(config(*overrides), tmp_path / "run"))
