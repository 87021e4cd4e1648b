"""The benchmark of the callback measures what it says; how long things take is not tested."""

import time

import numpy as np
import pytest
import pytorch_lightning as pl

from benchmarks import callback
from benchmarks._interleaved import SteppedFit, deferred_time, median_of_rounds, paired_times
from benchmarks._nets import build_twins, dense
from scripts.benchmark import main
from start_training.config.errors import run

TINY = dense(3, 8, 4, batch=16)


class Stopwatch:
    """Stands for a training whose turns take known times, and notes when it took them."""

    def __init__(self, name: str, seconds: list[float], log: list[str]) -> None:
        self.name, self.seconds, self.log = name, iter(seconds), log

    def take(self, steps: int = 1) -> float:
        self.log.append(f"{self.name}{steps}")
        return next(self.seconds)


@pytest.mark.parametrize(
    "method",  # W&B starts a process
    [pytest.param(name, marks=pytest.mark.slow) if "wandb" in name else name for name in callback.METHODS],
)
def test_each_method_is_measured(method):
    result = callback.measure(TINY, method, rounds=2, period=3)
    assert (result["net"], result["layers"], result["rounds"], result["pairs"]) == ("3 x 8, batch 16", 4, 2, 4)
    assert result["ratio_range"][0] <= result["ratio"] <= result["ratio_range"][1]
    assert np.isfinite([result["added_microseconds"], result["deferred_microseconds"]]).all()
    assert callback.results_table(TINY, [result]).row_count == 1


def test_pairs_are_timed_in_alternating_order_after_the_warm_up_and_what_is_put_off_is_shared_among_the_steps():
    log: list[str] = []
    plain, watched = Stopwatch("p", [9, 1, 2, 3], log), Stopwatch("w", [9, 4, 5, 6], log)
    times = paired_times(plain, watched, 3, turn=10, warm_up=1)
    assert times.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert log == ["p10", "w10", "w10", "p10", "p10", "w10", "w10", "p10"]
    training = Stopwatch("w", [1, 1, 7, 1, 1, 10], [])
    assert deferred_time(training, 3, periods=2) == pytest.approx((6 + 9) / 2 / 3)


def test_what_a_callback_does_and_what_goes_wrong_is_inside_the_turn():
    steps: list[int] = []

    class Watching(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            steps.append(trainer.global_step)
            time.sleep(0.02)
            assert len(steps) < 4, "as it should"

    (net, _), batch = build_twins(TINY, "cpu")
    training = SteppedFit(callback.classifier(net, TINY, False), batch, Watching())
    assert training.take(3) > 0.02  # a sleep is never shorter, however busy the machine
    assert steps == [1, 2, 3]
    with pytest.raises(AssertionError, match="as it should"):
        training.take()
    training.finish()


def test_summary_charges_what_was_put_off():
    times = np.array([[[1.0, 1.1], [2.0, 2.2]], [[1.0, 1.3], [1.0, 1.3]]])  # two rounds of two pairs
    result = callback.summary(times, 0.1)
    assert result["ratio"] == pytest.approx(np.mean([1.175, 1.4]))
    assert result["ratio_range"] == pytest.approx([1.175, 1.4])
    assert result["added_microseconds"] == pytest.approx(1e6 * np.mean([0.25, 0.4]))
    assert result["plain_milliseconds"] == 1000
    assert median_of_rounds([3, 1, 2]) == (2, 1, 3)


def test_a_benchmark_that_is_not_there_is_said_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark.py", "nothing_here"])
    with pytest.raises(SystemExit, match="1"):
        run(main)
    [error] = capsys.readouterr().err.splitlines()
    assert error.startswith("error: benchmark = 'nothing_here': must be one of callback, ensembles, ")
