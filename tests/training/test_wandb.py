"""The offline W&B run of a training, read back from its file."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from start_training.runs.job import Job
from start_training.training.train import train
from tests.wandb_records import config_of, logged, of_kind, records, tables_of


def test_the_wandb_run_has_the_content_of_the_run_directory(config, tmp_path, monkeypatch):
    figures = {name: Figure(figsize=(0.1, 0.1)) for name in ("lengths", "lengths_over_time")}
    monkeypatch.setattr("start_training.reports.run_report.figures", lambda *_: figures)
    settings = config("logger=wandb")
    summary = train(Job(settings, tmp_path, overrides=("seed=0", "model.width=16"), sweep="a-sweep"))
    entries = records(tmp_path)
    run = of_kind(entries, "run")[0]
    assert (run.project, run.run_group) == ("how-to-start-training", "a-sweep")
    assert run.display_name == "seed=0 model.width=16"
    assert config_of(entries)["model"] == settings["model"]
    metrics = logged(entries)
    assert {name: metrics[name] for name in summary["metrics"]} == summary["metrics"]
    assert metrics["lengths._type"] == metrics["lengths_over_time._type"] == "image-file"
    assert {Path(name).parts[0] for name in tables_of(entries)} == {"lengths", "steps", "hyperparameters"}
    assert [end.exit_code for end in of_kind(entries, "exit")] == [0]


def test_a_failed_wandb_run_is_finished_and_the_next_job_has_its_own(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("start_training.models.training_module.TrainingModule.training_step", lambda *_, **__: 1 / 0)
        train(Job(config("logger=wandb"), tmp_path / "failed"))
    train(Job(config("logger=wandb", "optimizer.lr=1e30"), tmp_path / "diverged"))
    ends = {name: of_kind(records(tmp_path / name), "exit")[0].exit_code for name in ("failed", "diverged")}
    assert ends == {"failed": 1, "diverged": 0}
