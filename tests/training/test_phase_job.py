"""Phase and test metrics of a job: tables, summary and printed line, also with two processes."""

import numpy as np
import pandas as pd
import pytest

from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.train import train
from tests.training.test_processes import run

EVERY = "callbacks.phase.every_n_steps=4"
QUICK = ("callbacks.phase.iterations=10", "trainer.max_epochs=4", "datamodule.validation=0", "optimizer.lr=0.05")
LAYER = ("model=tanh_layer", "initializer=phase", "callbacks=phase_and_lengths", *QUICK)  # 12 steps an epoch


def phase(directory) -> pd.DataFrame:
    return pd.read_parquet(directory / "phase")


def epochs_of(directory) -> pd.DataFrame:
    return pd.read_csv(directory / "metrics.csv").dropna(subset=["train/loss"])


def test_the_phase_is_written_to_table_summary_and_metrics(trained):
    directory = trained(*LAYER)
    summary = RunDirectory(directory).summary()
    rows, epochs, entry = phase(directory), epochs_of(directory), summary["phase"]
    per_epoch = summary["steps"] // 4
    assert rows["step"].tolist() == [per_epoch * epoch for epoch in range(5)]
    assert rows["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert (epochs["step"] + 1).tolist() == rows["step"].tolist()[1:]
    assert entry["J"] == rows["J"].iloc[-1]
    assert entry["lowest_test_loss"] == epochs["test/loss"].min() == summary["lowest_test_loss"]["loss"]
    assert entry["lowest_test_loss_epoch"] == epochs["test/loss"].argmin() + 1
    assert epochs["test/loss"].iloc[-1] == pytest.approx(summary["metrics"]["test/loss"], rel=1e-5)
    assert len(list((directory / "phase").glob("*.parquet"))) == 1
    assert entry["layer"] == "hidden.linear"


def test_every_layer_has_a_row_and_relu_nets_are_not_called_ordered(config, tmp_path, capsys):
    summary = train(Job(config("callbacks=phase", *QUICK), tmp_path))["phase"]
    rows = phase(tmp_path)
    assert len(rows) == 3 * 5
    assert rows.groupby("layer")["lyapunov"].agg(lambda values: values.notna().all()).tolist() == [False, True, True]
    assert (summary["fan_in"], summary["fan_out"]) == (16, 16)
    assert not summary["edge_at_1"] and summary["slope"] is None
    [text] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("phase of ")]
    assert "ordered" not in text and "the edge of chaos of this activation is not at J = 1" in text


@pytest.mark.slow
def test_two_processes_record_the_phase_of_one_process(tmp_path):
    overrides = ("callbacks=phase", "datamodule.batch_size=127", EVERY)
    for name, trainer in (("one", "cpu"), ("two", "ddp_cpu")):
        finished = run(*overrides, f"trainer={trainer}", f"hydra.run.dir={tmp_path / name}")
        assert finished.returncode == 0, finished.stderr
    one, two = phase(tmp_path / "one"), phase(tmp_path / "two")
    pd.testing.assert_frame_equal(one[["step", "epoch", "name", "scaling"]], two[["step", "epoch", "name", "scaling"]])
    np.testing.assert_allclose(two["J"], one["J"], rtol=1e-3)
    first, second = (RunDirectory(tmp_path / name).summary()["lowest_test_loss"] for name in ("one", "two"))
    assert second["loss"] == pytest.approx(first["loss"], rel=2e-3)
