"""Tests of the benchmark `replicas`: both methods train the same jobs; measured times are not tested."""

import json

import numpy as np
import pytest

from benchmarks import _figure_1b, replicas
from benchmarks._figure_1b import figure_1b
from benchmarks._replica_jobs import ONE_BY_ONE, TOGETHER, WAYS, timed
from benchmarks.replicas import ReplicaSweep, check_steps, measure, summary

DIGITS = ["datamodule=digits", "datamodule.validation=0"]
TINY = ReplicaSweep(3, 256, 10, replicas=2, job_stride=2, rounds=1)
TINY_FIGURE = [
    "size=small",
    "trainer.max_epochs=1",
    "datamodule.batch_size=512",
    "hydra.sweeper.params.initializer='he_normal,lecun_normal'",
    "hydra.sweeper.params.depth='2,3'",
    "hydra.sweeper.params.seed=0",
]


@pytest.fixture
def without_mnist(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))


@pytest.fixture
def stopwatch(monkeypatch):
    """Replace training: jobs last 1 s plus 10 ms per step, a quarter of it together. Return the recorded calls."""
    log: list[tuple[str, int, int]] = []

    def fake_timed(train, configs):
        [way] = [way for way in WAYS if WAYS[way] is train]
        steps = configs[0]["trainer"]["max_steps"]
        log.append((way, len(configs), steps))
        ends = [{"steps": steps, "metrics": {"test/loss": 2.0 + (way == TOGETHER)}} for _ in configs]
        return len(configs) * (1 + 0.01 * steps) / (4 if way == TOGETHER else 1), ends

    monkeypatch.setattr(replicas, "timed", fake_timed)
    return log


def test_jobs_one_at_a_time_are_a_sample_in_alternating_order(stopwatch):
    result = measure(ReplicaSweep(3, 256, 100, replicas=6, job_stride=3, rounds=2), "none", DIGITS)
    warm_up, rounds = stopwatch[:2], stopwatch[2:]
    assert warm_up == [(ONE_BY_ONE, 1, 20), (TOGETHER, 6, 20)]
    assert rounds[:4] == [(ONE_BY_ONE, 2, 100), (TOGETHER, 6, 100), (ONE_BY_ONE, 2, 20), (TOGETHER, 6, 20)]
    assert rounds[4:] == rounds[3::-1]
    assert result["jobs"] == {"seconds": pytest.approx({ONE_BY_ONE: 12, TOGETHER: 3}), "ratio": 4, "range": [4, 4]}
    assert result["step"]["milliseconds"] == pytest.approx({ONE_BY_ONE: 10, TOGETHER: 2.5})
    assert result["fixed"]["seconds"] == pytest.approx({ONE_BY_ONE: 1, TOGETHER: 0.25})
    assert (result["goal"], result["met"], result["loss_apart"]) == (2, True, 0.5)


def test_summary_is_the_median_over_rounds_and_a_drift_of_the_machine_cancels():
    times = np.array([[[8.0, 3.0], [4.0, 2.0]]] * 3)  # seconds; of a way the long jobs, then the short
    times[1] *= 2  # this round ran at half the speed throughout
    times[2, 1] = [5.0, 3.0]
    result = summary(times, ReplicaSweep(10, 1024, 5, replicas=1))
    assert result["jobs"]["ratio"] == 2 and result["jobs"]["range"] == [1.6, 2]
    assert result["step"]["ratio"] == 2.5 and result["step"]["range"] == [2.5, 2.5]
    assert result["step"]["milliseconds"] == {ONE_BY_ONE: 1250, TOGETHER: 500}


@pytest.mark.slow
def test_both_methods_train_the_same_jobs():
    result = measure(TINY, "lengths", DIGITS)
    assert result["loss_apart"] < 1e-4
    assert all(seconds > 0 for seconds in result["jobs"]["seconds"].values())
    assert result["jobs"]["range"][0] <= result["jobs"]["ratio"] <= result["jobs"]["range"][1]
    assert result["peak_mebibytes"] is None


def test_a_job_that_fails_or_takes_another_number_of_steps_is_an_error():
    check_steps([{"steps": 3}], 3)
    with pytest.raises(RuntimeError, match="took 2 steps instead of 3"):
        check_steps([{"overrides": ["seed=1"], "steps": 2, "reason": "max_epochs = 1 reached"}], 3)
    with pytest.raises(RuntimeError, match="seed=0: absent"):
        timed(lambda jobs: None, TINY.configs("none", DIGITS, "cpu")[1][:1])


def test_the_benchmark_prints_tables_and_writes_results(monkeypatch, tmp_path, capsys, stopwatch):
    monkeypatch.setattr(replicas, "sweeps", lambda *, quick: [TINY] if quick else [])
    monkeypatch.setattr(replicas, "data_overrides", lambda: (DIGITS, "digits"))
    replicas.main(["--quick", "--out", str(tmp_path / "out.json")])
    printed, written = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())
    assert printed.count("3 x 3, 2 seeds") == 4
    assert "seconds of all jobs of a case, digits" in printed and "≥ 2 " in printed
    assert [row["callbacks"] for row in written["results"]] == ["none", "lengths"]
    assert written["environment"]["device"] == "CPU"


@pytest.mark.slow
def test_figure_1b_is_timed_together_and_extrapolated_one_at_a_time(monkeypatch, without_mnist):
    monkeypatch.setattr(_figure_1b, "TURNS", 1)
    result = figure_1b(TINY_FIGURE)
    assert (result["jobs"], result["steps"]) == (4, 4 * 3)  # 1437 digits in batches of 512
    assert result["sample"]["depths"] == [2, 3] and result["sample"]["steps_per_epoch"] == 3
    assert result["ratio"] == pytest.approx(result["alone_seconds"] / result["seconds"])
    first, _, last = _figure_1b.sentences({**result, "teraflops": 0.03, "limit": 0.12})
    assert first.startswith("4 jobs of figure 1b, 12 steps: trained together") and "goal" not in first
    assert last.endswith("0.03 TFLOP/s, which is 25.0% of the 0.12 of products of large matrices")
    assert 0 < result["teraflops"] < result["limit"]  # of nets so small


def test_the_time_of_jobs_one_at_a_time_is_extrapolated_over_depths_and_epochs():
    depths, steps = np.array([10, 30, 50, 100]), np.array([590, 0, 59, 118])
    epochs, chosen = np.array([1.0, 3.0]), np.array([10, 50, 100])
    seconds = 0.5 + 0.1 * chosen[:, None] * (1 + epochs)  # fixed, and an epoch's, both linear in depth
    sample = dict(zip(chosen.tolist(), seconds.tolist(), strict=True))
    result = _figure_1b.summary(sample, 59, 2.0, depths, steps)
    assert result["alone_seconds"] == pytest.approx(4 * 0.5 + 0.1 * (10 * 11 + 30 + 50 * 2 + 100 * 3))
    assert result["ratio"] == pytest.approx(result["alone_seconds"] / 2)
    assert result["met"] == {"ratio": True, "seconds": True}
    lines = _figure_1b.sentences({**result, "device": "cuda", "teraflops": 1.0, "limit": 2.0})
    assert lines[0].count("met") == 2
