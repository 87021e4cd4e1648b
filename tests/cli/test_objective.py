"""Training returns its objective to Hydra, so that any of its sweepers can use it."""

import math

import pytest

from start_training.cli.training_job import objective_of
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.tasks.merit import ACCURACY
from start_training.training.train import train


def test_the_objective_is_the_monitored_metric_and_the_worst_value_of_a_diverged_run(trained, config, tmp_path):
    run = RunDirectory(trained())
    assert objective_of(run, ACCURACY) == run.summary()["objective"] == run.summary()["metrics"]["val/loss"]
    merit = ACCURACY.monitoring("val/accuracy", None)
    settings = config("monitor=val/accuracy", "optimizer.lr=1e30")
    train(Job(settings, tmp_path / "diverged"))
    assert objective_of(RunDirectory(tmp_path / "diverged"), merit) == -math.inf
    assert objective_of(RunDirectory(tmp_path / "absent"), merit) is None


def test_hydra_gets_the_objective_of_each_job_of_a_sweep(shell, monkeypatch):
    from start_training.launchers.sweep import Sweep

    returned = []
    inner = Sweep.run

    def run(self, batches):
        ends = inner(self, batches)
        returned.extend(end.return_value for batch in ends for end in batch)
        return ends

    monkeypatch.setattr(Sweep, "run", run)
    words = ("model.depth=1", "model.width=4", "trainer.max_epochs=1", "logger=csv", "callbacks=none")
    assert shell("train", "-m", "seed=0,1", *words, "trainer.enable_progress_bar=false")[0] == 0
    assert len(returned) == 2 and all(1 < value < 4 for value in returned) and returned[0] != pytest.approx(returned[1])
