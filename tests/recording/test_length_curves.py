"""Curves of lengths go to any logger but metrics.csv, from Trainers and from groups of replicas."""

import numpy as np
import pytest
from pytorch_lightning.loggers import CSVLogger

from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.lengths.statistics import Statistics
from start_training.recording.length_curves import LengthCurves
from start_training.recording.length_writer import LengthWriter
from start_training.replicas.log import DeferredLogger
from start_training.runs.length_tables import MeasuredSteps, StepRecord
from start_training.runs.metrics_file import MetricsFile, read_metrics
from tests.callbacks.tasks import Plain, Recording, fit, mlp, small
from tests.replica_jobs import one_by_one, together
from tests.small_runs import composed

pytestmark = small
KEYS = {"lengths/input", "lengths/1", "growth_rate", "layer_variance", "first_nonfinite_layer"}


def curves(logger: Recording) -> dict[int, dict[str, float]]:
    """The rows of a logger, without the metrics of the module."""
    rows = {step: {name: row[name] for name in row if name in KEYS} for step, row in logger.rows.items()}
    return {step: row for step, row in rows.items() if row}


def test_curves_are_logged_at_most_once_in_so_many_steps_by_any_logger(tmp_path):
    class Foreign:
        """A logger of no class of Lightning's, to the callback; the Trainer needs one."""

        def __init__(self) -> None:
            self.rows: list[tuple[int, dict[str, float]]] = []

        def log_metrics(self, metrics, step=None):
            self.rows.append((step, metrics))

    loggers = [Recording(), MetricsFile(tmp_path), CSVLogger(tmp_path)]
    callback = ActivationLengths(tmp_path, log_every_n_steps=4, flush_every_n_steps=3)
    trainer = fit(Plain(mlp()), tmp_path, callback, logger=loggers, max_epochs=2)
    assert list(curves(loggers[0])) == [0, 4, 8]
    assert all(row.keys() == KEYS for row in curves(loggers[0]).values())
    assert loggers[0].rows[0]["first_nonfinite_layer"] == -1
    assert {name for row in read_metrics(tmp_path / "metrics.csv").values() for name in row} == {
        *("step", "epoch", "val_loss")
    }
    assert {*(tmp_path / "lightning_logs/version_0/metrics.csv").read_text().split("\n")[0].split(",")} > KEYS
    trainer.save_checkpoint(tmp_path / "a.ckpt")  # at step 12, the next to be logged
    resumed, foreign = Recording(), Foreign()
    callback = ActivationLengths(tmp_path, log_every_n_steps=4)
    fit(Plain(mlp()), tmp_path, callback, logger=resumed, max_epochs=3, ckpt_path=tmp_path / "a.ckpt")
    assert list(curves(resumed)) == [12, 16]
    LengthWriter(tmp_path / "foreign", [foreign], start=20, log_every_n_steps=4).write([deep(3, steps=[20, 21, 24])])
    assert [step for step, _ in foreign.rows] == [20, 24]


def test_log_false_logs_nothing(tmp_path):
    logger = Recording()
    fit(Plain(mlp()), tmp_path, ActivationLengths(log=False), logger=logger, max_epochs=1)
    assert logger.rows and not curves(logger)


def deep(layers: int, steps: list[int]) -> MeasuredSteps:
    """Made-up measurements of layers 0 … `layers`, whose lengths are their numbers; the last is not finite."""
    mean = np.tile(np.arange(layers + 1.0), (len(steps), 1))
    mean[:, -1] = np.inf
    across, counts = np.zeros(len(steps)), np.ones_like(mean)
    statistics = Statistics(counts, mean, counts, across, across)
    return MeasuredSteps(
        [str(layer) for layer in range(layers + 1)], [StepRecord(s, 0, 0.1, 1) for s in steps], statistics
    )


@pytest.mark.parametrize(("layers", "logged"), [(32, 33), (33, 34), (100, 34)])
def test_deep_nets_log_32_layers_and_both_ends(layers, logged):
    logger = Recording()
    LengthCurves(50, start=0).log([deep(layers, [0])], [logger])
    shown = [int(name.removeprefix("lengths/")) for name in logger.rows[0] if name.startswith("lengths/")]
    assert len(shown) == logged and shown[0] == 0 and shown[-1] == layers
    assert max(np.diff(shown)) - min(np.diff(shown)) <= 1
    assert logger.rows[0]["first_nonfinite_layer"] == layers


def test_a_group_of_replicas_logs_the_same_curves(tmp_path, monkeypatch):
    rows: dict[str, list] = {"alone": [], "group": []}
    settings = ("model.depth=2", "model.width=8", "datamodule.batch_size=512", "trainer.precision=64-true")
    config = composed(*settings, "trainer.max_epochs=1")
    target = "start_training.callbacks.activation_lengths.ActivationLengths"
    config["callbacks"] = {"lengths": {"_target_": target, "log_every_n_steps": 2}}
    config["logger"] = {"csv": {"_target_": "start_training.runs.metrics_file.MetricsFile"}}
    monkeypatch.setattr(DeferredLogger, "log_metrics", lambda _, metrics, step: rows["group"].append((step, metrics)))
    [of_group] = together(tmp_path / "group", [config])
    monkeypatch.setattr(MetricsFile, "takes_curves", True)
    [alone] = one_by_one(tmp_path / "alone", [config])
    logged = read_metrics(alone / "metrics.csv")
    grouped = {step: metrics for step, metrics in rows["group"] if "growth_rate" in metrics}
    assert list(grouped) == [0, 2]
    for step, metrics in grouped.items():
        assert metrics == pytest.approx({name: logged[step][name] for name in metrics}, rel=1e-6)
    assert not any("growth_rate" in row for row in read_metrics(of_group / "metrics.csv").values())
