"""The GPU's benchmark keeps to its time, loses nothing that it has found and compares as it says, seen on a CPU."""

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
def test_shares_add_up_to_what_there_is_and_what_one_leaves_passes_on(uses, seconds):
    left, weights = seconds, [weight for weight, _ in uses]  # and how much of its share each uses
    for index, (_, used) in enumerate(uses):
        of_this = share(left, weights[index:])
        assert 0 <= of_this <= left * (1 + 1e-12) and of_this >= seconds * weights[index] / sum(weights) * (1 - 1e-9)
        left -= used * of_this
    assert share(left, weights[-1:]) == pytest.approx(left) and share(-1.0, weights) == 0


def test_a_measurement_that_fails_says_why_and_the_others_follow(monkeypatch):
    def fail(seconds):
        raise RuntimeError("CUDA out of\n memory")

    reports, asked = [], []
    monkeypatch.setattr(parts, "time", SimpleNamespace(monotonic=lambda: 0.0))
    later = Case("later", lambda seconds: asked.append(seconds) or {FINDING: "well"}, 3.0)
    measure_cases([Case("fails", fail, 1.0), later], 100.0, lambda results: reports.append(copy.deepcopy(results)))
    states = [[result["state"] for result in results] for results in reports]
    assert [result["what"] for result in reports[0]] == ["fails", "later"]
    assert states == [["running", "not begun"], ["failed", "not begun"], ["failed", "running"], ["failed", "done"]]
    assert reports[-1][0]["reason"] == "RuntimeError: CUDA out of memory" and reports[-1][1][FINDING] == "well"
    assert asked == [100]  # three quarters, and what the first has left


@pytest.mark.slow
def test_a_part_that_hangs_is_killed_at_its_limit_with_what_it_has_started(tmp_path, monkeypatch):
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
    assert (result["state"], result["reason"], result["seconds"]) == ("out of time", "killed after 5 s", 7.0)
    assert [end["state"] for end in result["results"]] == ["done", "failed", "out of time", "not begun"]
    assert result["results"][0][FINDING] == "cpu True" and "ZeroDivisionError" in result["results"][1]["reason"]
    deadline = time.monotonic() + 60  # the kernel takes a moment to end what it was told to kill
    while is_running(int(started.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_a_gpu_one_line_says_what_to_type(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^device = cuda: torch .* finds no GPU; .* --device cpu --tiny$"):
        check_device("cuda", advice=gpu.TRY)


def test_parts_are_chosen_and_those_without_time_are_not_begun(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "run_part", lambda part, **_: pytest.fail("no time"))
    out = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--minutes", "0.01", "--parts", "ddp", "machine", "--out", str(out)])
    written = json.loads(out.read_text())
    assert [*written["parts"]] == ["machine", "ddp"]  # in the order of their value
    assert {part["reason"] for part in written["parts"].values()} == {"no time left"}
    assert capsys.readouterr().out.count("not begun: no time left") == 2


def test_every_part_lists_what_it_measures_without_touching_a_device():
    assert len({part.name for part in PARTS}) == len(PARTS)
    for device, tiny, part in product(("cuda", "cpu"), (True, False), PARTS):
        measured = [each.name for each in import_module(part.module).cases(device, tiny=tiny)]
        assert measured and measured == [*dict.fromkeys(measured)]


def tables(mean: float = 1.0, variance: float = 0.5, loss: float = 2.0, names: tuple[str, ...] = ("input", "a")):
    rows = {"step": 0, "layer": range(len(names)), "name": names, "count": 8, "mean": mean, "variance": variance}
    return pd.DataFrame(rows), pd.DataFrame({"loss": [loss]})


def test_records_agree_within_the_tolerance_and_the_control_has_to_be_seen():
    one, far = tables(), {"mean": 3e-3, "variance": 0.0, "loss": 0.0}
    assert deviations(one, tables(1.01, 0.49, 2.2)) == pytest.approx({"mean": 0.01, "variance": 0.02, "loss": 0.1})
    for mean, variance, agree in ((0.9e-3, 0.9e-2, True), (1.1e-3, 0, False), (0, 1.1e-2, False)):
        found = verdict(deviations(one, tables(1 + mean, 0.5 * (1 - variance))), far, TOLERANCE)
        assert (found["agree"], found["control_seen"]) == (agree, True)
        assert ("DIFFER" in found[FINDING]) == (not agree)
    blind = verdict(deviations(one, one), far | {"mean": 0.9e-3}, TOLERANCE)
    assert blind["agree"] and not blind["control_seen"] and "NOT SEEN" in blind[FINDING]
    assert deviations(one, tables(math.nan))["mean"] == math.inf  # and so they do not agree
    with pytest.raises(ValueError, match="not of the same layers"):
        deviations(one, tables(names=("input", "b")))


def test_synchronizations_are_counted_in_steps_that_are_warm():
    class Waits(pl.Callback):
        def on_before_backward(self, *args):
            for _ in range(2):
                warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    case, counter = dense(1, 4, 1, batch=4), cost.WaitCounter("cpu")
    (net, _), batch = case.twins("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the steps before
        trainer = silent_trainer("cpu", callbacks=[Waits(), counter], limit_val_batches=0)
        trainer.fit(case.classifier(net), BatchList([batch] * 2 * cost.COUNTED), [])
    assert counter.waits == 2


def test_distances_are_compared_relatively_but_for_states_that_have_met():
    assert wide_phase_diagram.relative(np.array([0.0, 0.51]), np.array([1e-9, 0.5])) == pytest.approx(0.02)
    assert wide_phase_diagram.relative(np.array([0.3, 0.5]), np.array([0.0, 0.5])) == pytest.approx(0.3)


def test_figure_1b_is_extrapolated_exactly_where_cost_is_linear():
    def seconds(depth, replicas):
        return [3.0 * depth + epochs * (0.5 + 0.2 * depth) * replicas for epochs in figure_1b_depths.EPOCHS]

    measured = {depth: seconds(depth, 1) for depth in (100, 10)}
    assert _figure_1b.epoch_cost(figure_1b_depths.EPOCHS, measured[10]) == pytest.approx((30, 2.5))
    depths = np.arange(10, 101, 10)
    expected = sum(3.0 * depth + 100 * (0.5 + 0.2 * depth) for depth in depths)
    assert _figure_1b.extrapolate(measured, figure_1b_depths.EPOCHS, depths, 100) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.timeout(3000)  # two of the ranks are processes: minutes at load 30
def test_all_parts_run_tiny_on_a_cpu_and_everything_agrees():
    """In this process, as starting one for each part would take longer than the parts."""
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
