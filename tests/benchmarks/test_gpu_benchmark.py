"""Tests of the benchmark `gpu` on a CPU: time limits are kept, no result is lost, comparisons detect differences."""

import copy
import json
import math
import os
import time
import warnings
from importlib import import_module
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import _figure_1b, gpu
from benchmarks._harness import check_device
from benchmarks._nets import dense
from benchmarks._stepped_fit import silent_trainer
from benchmarks.gpu_parts import cost, figure_1b_depths, parts, wide_phase_diagram
from benchmarks.gpu_parts.correctness import BatchList, Tolerance, deviations, verdict
from benchmarks.gpu_parts.parts import FINDING, PARTS, Case, Part, measure_cases, run_part, share

TOLERANCE = Tolerance(1e-3, 1e-2)
HANGS = """
import subprocess, time
from benchmarks.gpu_parts.parts import Case

def cases(device, *, tiny):
    return [Case("works", lambda seconds: {"finding": f"{device} {tiny}"}),
            Case("bad", lambda seconds: 1 / 0), Case("last", last), Case("never", last)]

def last(seconds):
    open("STARTED", "w").write(str(subprocess.Popen(["sleep", "600"]).pid))
    time.sleep(600)
"""


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 1)), min_size=1, max_size=8), st.floats(1, 1000))
def test_time_is_divided_by_weight_and_unused_time_goes_to_later_parts(uses, seconds):
    remaining, weights = seconds, [weight for weight, _ in uses]
    for index, (_, used) in enumerate(uses):  # `used` is the fraction of its limit that a part uses
        limit = share(remaining, weights[index:])
        assert 0 <= limit <= remaining * (1 + 1e-12)
        assert limit >= seconds * weights[index] / sum(weights) * (1 - 1e-9)
        remaining -= used * limit
    assert share(remaining, weights[-1:]) == pytest.approx(remaining) and share(-1.0, weights) == 0


def test_a_case_that_fails_has_a_reason_and_later_cases_are_measured(monkeypatch):
    def fail(seconds):
        raise RuntimeError("CUDA out of\n memory")

    reports, limits = [], []
    monkeypatch.setattr(parts, "time", SimpleNamespace(monotonic=lambda: 0.0))
    later = Case("later", lambda seconds: limits.append(seconds) or {FINDING: "well"}, 3.0)
    measure_cases([Case("fails", fail, 1.0), later], 100.0, lambda results: reports.append(copy.deepcopy(results)))
    states = [[result["state"] for result in results] for results in reports]
    assert [result["what"] for result in reports[0]] == ["fails", "later"]
    assert states == [["running", "not begun"], ["failed", "not begun"], ["failed", "running"], ["failed", "done"]]
    assert reports[-1][0]["reason"] == "RuntimeError: CUDA out of memory" and reports[-1][1][FINDING] == "well"
    assert limits == [100]  # its three quarters of the time, and the time that the first case has not used


@pytest.mark.slow
def test_a_part_that_hangs_is_killed_at_its_limit_with_its_child_processes(tmp_path, monkeypatch):
    started, late = tmp_path / "pid", [0.0]
    (tmp_path / "hangs.py").write_text(HANGS.replace("STARTED", str(started)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
    monkeypatch.setattr(parts, "time", SimpleNamespace(sleep=time.sleep, monotonic=lambda: late[0]))

    def changed(record):  # the limit has passed when the third measurement hangs
        if [end["state"] for end in record["results"]][2:3] == ["running"] and not late[0]:
            assert [end["state"] for end in record["results"]] == ["done", "failed", "running", "not begun"]
            while not (started.exists() and started.read_text()):
                time.sleep(0.01)
            late[0] = 7.0

    part = Part("hangs", "hangs", 1.0, "does it?")
    result = run_part(part, device="cpu", tiny=True, seconds=5.0, changed=changed)
    assert (result["state"], result["reason"], result["seconds"]) == ("out of time", "killed at its limit of 5 s", 7.0)
    assert [end["state"] for end in result["results"]] == ["done", "failed", "out of time", "not begun"]
    assert result["results"][0][FINDING] == "cpu True" and "ZeroDivisionError" in result["results"][1]["reason"]
    deadline = time.monotonic() + 60  # the kernel may take a moment to end a killed process
    while is_running(int(started.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_a_gpu_the_error_says_what_to_type(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^device = cuda: torch .* finds no GPU; .* --device cpu --tiny$"):
        check_device("cuda", advice=gpu.TRY)


def test_parts_are_chosen_and_those_without_time_are_not_begun(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "run_part", lambda part, **_: pytest.fail("no time"))
    out = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--minutes", "0.01", "--parts", "ddp", "machine", "--out", str(out)])
    written = json.loads(out.read_text())
    assert [*written["parts"]] == ["machine", "ddp"]  # in order of importance
    assert {part["reason"] for part in written["parts"].values()} == {"no time left"}
    assert capsys.readouterr().out.count("not begun: no time left") == 2


def test_the_cases_of_every_part_have_different_names_and_are_listed_without_a_device():
    assert len({part.name for part in PARTS}) == len(PARTS)
    for device, tiny, part in product(("cuda", "cpu"), (True, False), PARTS):
        names = [case.name for case in import_module(part.module).cases(device, tiny=tiny)]
        assert names and names == [*dict.fromkeys(names)]


def tables(mean: float = 1.0, variance: float = 0.5, loss: float = 2.0, names: tuple[str, ...] = ("input", "a")):
    rows = {"step": 0, "layer": range(len(names)), "name": names, "count": 8, "mean": mean, "variance": variance}
    return pd.DataFrame(rows), pd.DataFrame({"loss": [loss]})


def test_tables_agree_within_the_tolerance_and_the_control_has_to_be_detected():
    one, far = tables(), {"mean": 3e-3, "variance": 0.0, "loss": 0.0}
    assert deviations(one, tables(1.01, 0.49, 2.2)) == pytest.approx({"mean": 0.01, "variance": 0.02, "loss": 0.1})
    for mean, variance, agree in ((0.9e-3, 0.9e-2, True), (1.1e-3, 0, False), (0, 1.1e-2, False)):
        result = verdict(deviations(one, tables(1 + mean, 0.5 * (1 - variance))), far, TOLERANCE)
        assert (result["agree"], result["control_seen"]) == (agree, True)
        assert ("DIFFER" in result[FINDING]) == (not agree)
    blind = verdict(deviations(one, one), far | {"mean": 0.9e-3}, TOLERANCE)
    assert blind["agree"] and not blind["control_seen"] and "NOT DETECTED" in blind[FINDING]
    assert deviations(one, tables(math.nan))["mean"] == math.inf  # NaN does not agree with any number
    with pytest.raises(ValueError, match="the tables have different steps, layers or counts"):
        deviations(one, tables(names=("input", "b")))


def test_synchronizations_are_counted_after_the_warm_up_steps():
    class Waits(pl.Callback):
        def on_before_backward(self, *args):
            for _ in range(2):
                warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    case, counter = dense(1, 4, 1, batch=4), cost.WaitCounter("cpu")
    (net, _), batch = case.twins("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ignore the warnings of the warm-up steps
        trainer = silent_trainer("cpu", callbacks=[Waits(), counter], limit_val_batches=0)
        trainer.fit(case.classifier(net), BatchList([batch] * 2 * cost.COUNTED), [])
    assert counter.waits == 2


def test_distances_are_compared_relatively_unless_the_reference_is_zero():
    assert wide_phase_diagram.relative(np.array([0.0, 0.51]), np.array([1e-9, 0.5])) == pytest.approx(0.02)
    assert wide_phase_diagram.relative(np.array([0.3, 0.5]), np.array([0.0, 0.5])) == pytest.approx(0.3)


def test_the_extrapolation_of_figure_1b_is_exact_for_linear_costs():
    def seconds(depth, replicas):
        return [3.0 * depth + epochs * (0.5 + 0.2 * depth) * replicas for epochs in figure_1b_depths.EPOCHS]

    measured = {depth: seconds(depth, 1) for depth in (100, 10)}
    assert _figure_1b.epoch_cost(figure_1b_depths.EPOCHS, measured[10]) == pytest.approx((30, 2.5))
    depths = np.arange(10, 101, 10)
    expected = sum(3.0 * depth + 100 * (0.5 + 0.2 * depth) for depth in depths)
    assert _figure_1b.extrapolate(measured, figure_1b_depths.EPOCHS, depths, 100) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.timeout(3000)  # two ranks are separate processes, which take minutes on a busy machine
def test_all_parts_run_tiny_on_a_cpu_and_everything_agrees():
    """All parts run in this process, since starting a process for each would take longer than the parts."""
    deadline, records = time.monotonic() + 3600, {}
    for part in PARTS:
        reports = []
        measure_cases(import_module(part.module).cases("cpu", tiny=True), deadline, reports.append)
        records[part.name] = {"state": "done", "results": reports[-1]}
    results = [result for record in records.values() for result in record["results"]]
    assert {result["state"] for result in results} == {"done"}, results
    compared = [result for result in results if "agree" in result]
    assert len(compared) == 6 and all(result["agree"] and result["control_seen"] for result in compared)
    assert gpu.parts_table(PARTS, records).row_count == len(PARTS) + len(results)
