"""Tests of the benchmark `ensembles`: all methods do the same task; measured times are not tested."""

import json

import numpy as np
import pytest

from benchmarks import _jax, ensembles
from benchmarks._ensemble_ways import (
    FLOOR,
    LAW,
    OURS,
    REFERENCE,
    EnsembleJob,
    SliceTimes,
    Way,
    sigmas,
    time_slices,
    torch_ways,
)
from benchmarks.ensembles import Goal

SMALL = EnsembleJob(3, 8)
OTHER_LAWS = [pytest.param(law, marks=pytest.mark.slow) for law in ("uniform", "truncated_normal", "orthogonal")]


@pytest.mark.parametrize("law", ["normal", *OTHER_LAWS])
def test_all_methods_do_the_same_task(law):
    ways = {way.name: way for way in torch_ways(EnsembleJob(3, 8, law)) if way.work(way.unit, 0).size}
    assert {OURS, "vectorized", REFERENCE} <= set(ways)
    assert (LAW in ways) == (law == "normal")
    results = {name: way.work(600, seed) for seed, (name, way) in enumerate(ways.items())}
    for logs in results.values():
        assert logs.shape == (600,)
        assert sigmas(logs, results[OURS]) < 4
        assert sigmas(logs, results[OURS] + 1) > 4  # the test can fail: the spread is 2, so a shift by 1 is 9 sigma


def test_turns_alternate_slices_have_different_seeds_and_consist_of_whole_chunks():
    log: list[tuple[str, int, int]] = []

    def way(name: str, unit: int = 1) -> Way:
        return Way(name, lambda nets, seed: log.append((name, nets, seed)) or np.full(nets, float(seed)), unit=unit)

    turns = time_slices([way("a"), way("b")], rounds=2, slices=2, nets=7)
    assert "".join(name for name, _, _ in log) == "abbaabba"
    assert {nets for _, nets, _ in log} == {7}
    assert len({seed for _, _, seed in log}) == 8
    assert all(result.seconds.shape == (2, 2) and result.nets == 7 for result in turns)
    log.clear()
    (result,) = time_slices([way("a", 13)], rounds=1, slices=1, seconds=1e-4)
    assert all(nets % 13 == 0 for _, nets, _ in log)
    assert result.log_ratios.shape == (result.nets,)


def test_sigmas_ignores_dead_nets():
    one, other = np.array([0.0, 2, -np.inf]), np.array([3.0, 5])
    assert sigmas(one, other) == pytest.approx(3 / np.sqrt(2))


def test_summary_compares_methods_within_each_slice():
    """A drift of the machine, here by a factor of two in the second round, cancels."""
    drift, logs = np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([0.0, 1.0])
    turns = {OURS: SliceTimes(10, drift, logs), FLOOR: SliceTimes(20, 2 * drift, np.empty(0)),
             REFERENCE: SliceTimes(1, 6 * drift, logs)}  # fmt: skip
    aims = {OURS: Goal("floor", "≤", 0.4), REFERENCE: Goal("ours", "≥", 5)}
    ours, floor, reference = ensembles.summary(SMALL, turns, aims)
    assert ours["over_floor"] == [0.5, 0.5, 0.5] and ours["met"] is False
    assert floor["over_ours"] == [2, 2, 2] and floor["met"] is None and floor["sigmas_from_ours"] is None
    assert reference["over_ours"] == [6, 6, 6] and reference["met"] is True and reference["sigmas_from_ours"] == 0
    assert ours["seconds_for_1000_nets"] == 1500


def test_the_command_prints_tables_and_writes_results_without_jax(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(_jax, "find_spec", lambda name: None)
    monkeypatch.setattr(ensembles, "jobs", lambda quick: [SMALL])
    monkeypatch.setattr(ensembles, "measure_memory", lambda device, quick: [])
    monkeypatch.setattr(ensembles, "measure_linearity", lambda rounds, device: {"nets": 8, "ratio": [2, 1, 3]})
    monkeypatch.setattr(ensembles, "QUICK_EFFORT", {"rounds": 1, "slices": 1, "seconds": 1e-4})
    ensembles.main(["--quick", "--out", str(tmp_path / "costs.json")])
    printed = capsys.readouterr().out
    assert "3 x 8, normal" in printed and "uv run --with jax" in printed
    assert "16 nets take 2.00 (1.00–3.00) times as long as 8" in printed
    written = json.loads((tmp_path / "costs.json").read_text())
    assert {row["way"] for row in written["results"]} >= {OURS, FLOOR, REFERENCE, LAW, "vectorized"}
    assert written["environment"]["jax"] == "not installed"
