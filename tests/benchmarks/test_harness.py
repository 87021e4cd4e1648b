"""Tests of the common parts of benchmarks: turns, spreads of ratios, and the file of results."""

import json
import operator
from functools import partial

import pytest

from benchmarks._harness import Session, benchmark
from benchmarks._measuring import in_turns, least_seconds, peak_mebibytes, spread
from start_training.config.errors import UsageError


@benchmark(quick="nothing less", on_gpu=False, times={"type": int, "default": 1})
def interrupted(session: Session) -> None:
    """A benchmark that is interrupted after some results."""
    for number in range(session.options.times):
        session.measure("numbers", lambda value=number: {"value": value})
    session.measure("letters", lambda: ["a", "b"], key="letters")
    session.results["data"] = float("nan")
    raise KeyboardInterrupt


def test_functions_are_called_in_turns_in_alternating_order():
    log: list[str] = []
    ways = [lambda turn, name=name: log.append(name) or f"{name}{turn}" for name in "pqw"]
    assert in_turns(ways, 3) == [["p0", "q0", "w0"], ["p1", "q1", "w1"], ["p2", "q2", "w2"]]
    assert "".join(log) == "pqwwqppqw"
    log.clear()
    assert in_turns(ways[:2], 2, first=3) == [["p3", "q3"], ["p4", "q4"]]
    assert "".join(log) == "qppq"


def test_a_spread_is_that_of_medians_over_turns():
    assert spread([3, 1, 2]) == (2, 1, 3)
    assert spread([[1, 3, 8], [5, 5, 5]]) == (4, 3, 5)
    assert spread([3, 1, 2]).text(".1f") == "2.0 (1.0–3.0)"


def test_least_seconds_is_the_time_of_the_fastest_call(monkeypatch):
    clock = iter([0, 5, 10, 12, 20, 29])
    monkeypatch.setattr("benchmarks._measuring.now", lambda device: next(clock))
    assert least_seconds(lambda: None, calls=3) == 2


def test_results_before_ctrl_c_are_in_the_file_and_the_environment_is_printed(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        interrupted(["--times", "2", "--out", str(tmp_path / "out.json")])
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["results"], written["letters"]) == ([{"value": 0}, {"value": 1}], ["a", "b"])
    assert written["data"] is None  # JSON has no NaN
    assert capsys.readouterr().out.startswith("device CPU, threads ")


def test_a_benchmark_without_gpu_support_has_no_option_device(capsys):
    with pytest.raises(UsageError, match="unrecognized arguments: --device cuda"):
        interrupted(["--device", "cuda"])
    with pytest.raises(SystemExit):
        interrupted(["--help"])
    printed = capsys.readouterr().out
    assert "benchmark.py test_harness" in printed and "nothing less" in printed and "--device" not in printed


@pytest.mark.slow
def test_peak_memory_is_that_of_the_work_and_not_of_the_preparation():
    mebibytes = [partial(operator.mul, b"x", size << 20) for size in (96, 64)]
    assert peak_mebibytes(*mebibytes) == pytest.approx(64, abs=8)
