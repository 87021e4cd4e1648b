"""Loggers beside metrics.csv and W&B: what was logged is read back."""

import pytest

from start_training.runs.job import Job
from start_training.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_tensorboard_has_the_metrics_and_the_settings_of_the_run(config, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    summary = train(Job(config("logger=tensorboard", "callbacks=none"), tmp_path))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for name in ("train/loss", "val/loss", "val/accuracy", "test/accuracy"):
        assert events.Scalars(name)[-1].value == pytest.approx(summary["metrics"][name])
    assert [event.step for event in events.Scalars("train/loss")] == [10, 21, 32]
    assert "optimizer" in (tmp_path / "tensorboard" / "hparams.yaml").read_text()
    assert (tmp_path / "metrics.csv").exists()


@pytest.mark.slow
def test_mlflow_has_the_metrics_and_the_settings_of_the_run(config, tmp_path, monkeypatch, capfd):
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "run"
    summary = train(Job(config("logger=mlflow", "callbacks=none"), directory, overrides=["model.depth=3"]))
    assert capfd.readouterr().err == ""  # nothing of MLflow's and Alembic's INFO
    client = MlflowClient(f"sqlite:///{directory}/mlflow.db")
    experiment = client.get_experiment_by_name("how-to-start-training")
    [run] = client.search_runs([experiment.experiment_id])
    for name in ("train/loss", "val/loss", "val/accuracy", "test/accuracy"):
        assert run.data.metrics[name] == pytest.approx(summary["metrics"][name])
    assert run.data.params["model/depth"] == "3" and run.info.run_name == "model.depth=3"
    assert run.info.status == "FINISHED"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
