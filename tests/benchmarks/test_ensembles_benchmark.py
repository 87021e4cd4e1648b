"""The benchmark of ensembles times the same job done in all ways; how long things take is not tested."""

import json

import numpy as np
import pytest
import torch

from src.benchmarks import _drawing, _jax, ensembles
from src.benchmarks._job import FLOOR, LAW, OURS, REFERENCE, Job, torch_ways
from src.benchmarks._memory import peak_mebibytes
from src.benchmarks._turns import Turns, Way, sigmas, take_turns
from src.benchmarks.ensembles import Goal, Patience

SMALL = Job(3, 8, "normal")
LAWS = ("normal", "uniform", "truncated_normal", "orthogonal")


@pytest.fixture
def drawn(monkeypatch):
    """What a law that only notes what it is asked to fill has noted: how many weights, from which seed."""
    fills: list[tuple[int, int]] = []
    note = ("note", lambda buffer, generator: fills.append((buffer.numel(), generator.initial_seed())))
    monkeypatch.setitem(_drawing.FILLS, "noted", note)
    return fills


def measuring_ways(job: Job) -> dict[str, Way]:
    return {way.name: way for way in torch_ways(job) if way.work(way.unit, 0) is not None}


@pytest.mark.parametrize("threads", [1, 3])
def test_the_floor_draws_just_the_weights_of_the_job(drawn, threads):
    weights = 2 * _drawing.CHUNK_WEIGHTS["cpu"] + 1001
    of_torch = torch.get_num_threads()
    _drawing.draw_weights("noted", weights, seed=5, threads=threads)
    assert sum(count for count, _ in drawn) == weights
    assert max(count for count, _ in drawn) <= _drawing.CHUNK_WEIGHTS["cpu"]
    assert len({seed for _, seed in drawn}) == threads
    assert torch.get_num_threads() == of_torch


def test_the_floor_counts_the_measured_layers_only():
    measured = sum(layer.get_submodule("linear").weight.numel() for layer in SMALL.net.hidden)
    assert SMALL.weights == measured == 3 * 8 * 8


@pytest.mark.parametrize("law", LAWS)
def test_all_ways_do_the_same_job(law):
    job = Job(3, 8, law)
    ways = measuring_ways(job)
    assert {OURS, "vectorized", REFERENCE} <= set(ways)
    assert (LAW in ways) == (law == "normal")
    results = {name: way.work(600, seed) for seed, (name, way) in enumerate(ways.items())}
    for logs in results.values():
        assert logs.shape == (600,)
        assert sigmas(logs, results[OURS]) < 4
        assert sigmas(logs, results[OURS] + 1) > 4  # the test can fail: the spread is 2, so a shift by 1 is 9 sigma


def test_turns_alternate_and_no_two_have_the_same_seed():
    log: list[tuple[str, int, int]] = []

    def way(name: str) -> Way:
        return Way(name, lambda nets, seed: log.append((name, nets, seed)))

    turns = take_turns([way("a"), way("b")], rounds=2, slices=2, nets=7)
    assert "".join(name for name, _, _ in log) == "abbaabba"
    assert {nets for _, nets, _ in log} == {7}
    assert len({seed for _, _, seed in log}) == 8
    assert all(result.seconds.shape == (2, 2) and result.nets == 7 for result in turns)
    assert all(len(result.log_ratios) == 0 for result in turns)


def test_a_slice_is_made_of_whole_chunks():
    sizes: list[int] = []

    def work(nets: int, seed: int) -> np.ndarray:
        sizes.append(nets)
        return np.full(nets, float(seed))

    (result,) = take_turns([Way("a", work, unit=13)], rounds=1, slices=1, seconds=1e-4)
    assert all(nets % 13 == 0 for nets in sizes)
    assert result.log_ratios.shape == (result.nets,)


def test_sigmas_leave_dead_nets_out():
    one, other = np.array([0.0, 2, -np.inf]), np.array([3.0, 5])
    assert sigmas(one, other) == pytest.approx(3 / np.sqrt(2))


def test_summary_compares_slice_with_slice():
    """Drift, here a machine twice as slow in the second round, cancels."""
    drift, logs = np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([0.0, 1.0])
    turns = {
        OURS: Turns(10, drift, logs),
        FLOOR: Turns(20, 2 * drift, np.empty(0)),
        REFERENCE: Turns(1, 6 * drift, logs),
    }
    aims = {OURS: Goal("floor", False, 0.4), REFERENCE: Goal("ours", True, 5)}
    ours, floor, reference = ensembles.summary(SMALL, turns, aims)
    assert ours["over_floor"] == [0.5, 0.5, 0.5] and ours["met"] is False
    assert floor["over_ours"] == [2, 2, 2] and floor["met"] is None and floor["sigmas_from_ours"] is None
    assert reference["over_ours"] == [6, 6, 6] and reference["met"] is True and reference["sigmas_from_ours"] == 0
    assert ours["seconds_for_1000_nets"] == 1500


def test_goals_are_those_of_the_requirement():
    for law in ("normal", "uniform"):
        aims = ensembles.goals(Job(100, 100, law))
        assert (str(aims[OURS]), str(aims[REFERENCE])) == ("× floor ≤ 1", "× ours ≥ 5")
    assert str(ensembles.goals(Job(16, 16, "normal"))[REFERENCE]) == "× ours ≥ 30"
    assert OURS not in ensembles.goals(Job(100, 100, "orthogonal"))
    assert ensembles.goals(Job(100, 100, "normal"), "cuda") == {}


def test_memory_is_what_sampling_adds():
    mebibytes = peak_mebibytes(SMALL, 100)
    assert mebibytes is None or 0 < mebibytes < 500  # the process itself, torch imported, is near 400


def test_jax_is_not_needed(monkeypatch):
    monkeypatch.setattr(_jax, "find_spec", lambda name: None)
    assert not _jax.installed()
    assert _jax.environment() == {"jax": "not installed"}
    rows = ensembles.measure(SMALL, Patience(1, 1, 1e-4))
    assert [row["way"] for row in rows][:2] == [OURS, FLOOR]
    assert ensembles.results_table(SMALL, rows, Patience(1, 1, 1e-4)).row_count == len(rows)


@pytest.mark.slow
def test_a_quick_run_prints_tables_and_writes_its_numbers(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(_jax, "find_spec", lambda name: None)
    ensembles.main(["--quick", "--out", str(tmp_path / "costs.json")])
    printed = capsys.readouterr().out
    for said in ("16 x 16, normal", "100 x 100, normal", "peak memory", "times as long", "uv run --with jax"):
        assert said in printed
    written = json.loads((tmp_path / "costs.json").read_text())
    assert {row["way"] for row in written["results"]} >= {OURS, FLOOR, REFERENCE, LAW, "vectorized"}
    assert max(row["sigmas_from_ours"] or 0 for row in written["results"]) < 5  # seeds are fixed, slices are not
    assert len(written["memory"]) == 2 and written["linearity"]["nets"] > 0
