"""Tests of the benchmark `callback`; measured times are not tested."""

import time

import numpy as np
import pytest
import pytorch_lightning as pl

from benchmarks import _stepped_fit, callback
from benchmarks._harness import results_table
from benchmarks._nets import dense
from benchmarks._stepped_fit import SteppedFit, deferred_seconds
from scripts.benchmark import main
from start_training.config.errors import run

TINY = dense(3, 8, 4, batch=16)


class Stopwatch:
    """A replacement for `SteppedFit` whose steps take known times."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds, self.finished = iter(seconds), False

    def time_steps(self, steps: int = 1) -> float:
        return next(self.seconds)

    def finish(self) -> None:
        self.finished = True


@pytest.mark.parametrize(
    "method",  # W&B starts a process
    [pytest.param(name, marks=pytest.mark.slow) if "wandb" in name else name for name in callback.METHODS],
)
def test_each_method_is_measured(method):
    result = callback.measure(TINY, method, rounds=2, period=3)
    assert (result["net"], result["layers"], result["rounds"], result["pairs"]) == ("3 x 8, batch 16", 4, 2, 4)
    assert result["ratio_range"][0] <= result["ratio"] <= result["ratio_range"][1]
    assert np.isfinite([result["added_microseconds"], result["deferred_microseconds"]]).all()
    assert results_table("", callback.COLUMNS, [result]).row_count == 1


def test_deferred_work_is_divided_by_the_period_and_the_training_ends(monkeypatch):
    training = Stopwatch([1, 1, 7, 1, 1, 10])
    monkeypatch.setattr(_stepped_fit, "SteppedFit", lambda module, batch, callback: training)
    seconds = deferred_seconds(None, (), lambda directory, period: None, 3, periods=2)
    assert seconds == pytest.approx((6 + 9) / 2 / 3)
    assert training.finished


def test_a_turn_includes_the_time_of_callbacks_and_raises_their_errors():
    steps: list[int] = []

    class Watching(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            steps.append(trainer.global_step)
            time.sleep(0.02)
            assert len(steps) < 4, "as it should"

    (net, _), batch = TINY.twins("cpu")
    training = SteppedFit(TINY.classifier(net), batch, Watching())
    assert training.time_steps(3) > 0.02  # a sleep is never shorter than this
    assert steps == [1, 2, 3]
    with pytest.raises(AssertionError, match="as it should"):
        training.time_steps()
    training.finish()


def test_summary_includes_deferred_work():
    times = np.array([[[1.0, 1.1], [2.0, 2.2]], [[1.0, 1.3], [1.0, 1.3]]])  # two rounds of two pairs
    result = callback.summary(times, 0.1)
    assert result["ratio"] == pytest.approx(np.mean([1.175, 1.4]))
    assert result["ratio_range"] == pytest.approx([1.175, 1.4])
    assert result["added_microseconds"] == pytest.approx(1e6 * np.mean([0.25, 0.4]))
    assert result["plain_milliseconds"] == 1000


def test_an_unknown_benchmark_is_reported_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark.py", "nothing_here"])
    with pytest.raises(SystemExit, match="1"):
        run(main)
    [error] = capsys.readouterr().err.splitlines()
    assert error.startswith("error: benchmark = 'nothing_here': must be one of callback, ensembles, ")
