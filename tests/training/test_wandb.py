"""The offline W&B run of a training, read back from its file."""

import ast
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from start_training.runs.job import Job
from start_training.training.train import train
from tests.forked import ROOT
from tests.wandb_records import config_of, logged, of_kind, records, tables_of, values


def test_the_wandb_run_has_the_content_of_the_run_directory(config, tmp_path, monkeypatch):
    figures = {name: Figure(figsize=(0.1, 0.1)) for name in ("lengths", "lengths_over_time")}
    monkeypatch.setattr("start_training.reports.run_report.figures", lambda *_: figures)
    settings = config("logger=wandb")
    words, chosen = ("seed=0", "model.width=16", "logger=wandb"), {"initializer": "he_normal"}
    summary = train(Job(settings, tmp_path, words, sweep="a-sweep", choices=chosen))
    entries = records(tmp_path)
    run = of_kind(entries, "run")[0]
    assert (run.project, run.run_group) == ("how-to-start-training", "a-sweep")
    assert run.display_name == "seed=0 model.width=16"
    assert (run.job_type, list(run.tags)) == ("train", ["FullyConnected", "he_normal", "digits"])
    known = config_of(entries)
    assert known["model"] == settings["model"] and known["config_hash"] == summary["config_hash"]
    assert [known[name] for name in ("net", "initialization", "data")] == list(run.tags)
    shown = values(item for entry in of_kind(entries, "summary") for item in entry.update)
    verdicts = {"status", "reason", "clues", "measured_layers"}
    assert {name: shown[name] for name in verdicts} == {name: summary[name] for name in verdicts}
    metrics = logged(entries)
    template = ast.parse((ROOT / "docs" / "wandb_workspace.py").read_text())
    [curves] = [ast.literal_eval(node.value) for node in template.body if ast.unparse(node).startswith("CURVES")]
    assert {metric for panels in curves.values() for drawn in panels.values() for metric in drawn} <= metrics.keys()
    assert "lengths/input" in metrics
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
