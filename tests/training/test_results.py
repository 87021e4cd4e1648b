"""The objective of a run: returned to Hydra, so that its sweepers can use it; or a line says why there is none."""

import math

import pytest

from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.tasks.merit import ACCURACY
from start_training.training.results import missing_objective, objective_of
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


@pytest.mark.parametrize(
    ("monitor", "own", "metrics", "message"),
    [
        ("val/loss", True, {"train/e": 1.0, "val/e": 2.0}, "monitor = val/loss: was not logged, only train/e, val/e"),
        ("val/loss", True, {}, "monitor = val/loss: was not logged, and no other metric; log it by self.log"),
        ("val/eror", False, {"val/loss": 1.0}, "monitor = val/eror: was not logged, only val/loss; set monitor to one"),
        ("val/loss", False, {"train/loss": 1.0}, None),  # no validation data
    ],
)  # fmt: skip
def test_a_run_that_has_not_logged_its_monitor_says_so(monitor, own, metrics, message):
    task = {"_target_": "tests.own_modules.Gan"} if own else {}
    told = missing_objective(
        {"status": "completed", "objective": None, "metrics": metrics}, {"monitor": monitor, "task": task}
    )
    assert told is message if message is None else told.startswith(message)


def test_the_line_about_a_missing_objective_is_printed(config, tmp_path, capsys):
    train(Job(config("monitor=val/eror", "model.depth=1", "callbacks=none", "trainer.max_epochs=1"), tmp_path))
    error = capsys.readouterr().err
    assert error.startswith("monitor = val/eror: was not logged, only ") and "val/accuracy" in error


def test_a_run_without_test_data_prints_its_last_validation(config, tmp_path, capsys):
    settings = config("model.depth=1", "callbacks=none", "trainer.max_epochs=1", "+trainer.limit_test_batches=0")
    train(Job(settings, tmp_path / "one"))
    train(Job(settings, tmp_path / "two", sweep="sweep"))
    printed = capsys.readouterr().out
    assert "Validation" in printed and "Test" not in printed and ": completed, validation accuracy " in printed
