"""Tests of the benchmark `range_test`; the quality of the suggestions is not tested."""

import json
import math

import pytest

from benchmarks import range_test
from benchmarks.range_test import FIXED, LIGHTNING, ONE_CYCLE, OURS
from start_training.training.process_settings import quiet_lightning

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)


@pytest.fixture
def net():
    with quiet_lightning():
        yield range_test.nets(quick=True)[0]


def test_a_seed_determines_net_and_batches_and_training_uses_the_given_rate(net):
    (one, data), (same, _), (other, others) = (net.module(seed, rate=0.1) for seed in (0, 0, 1))
    weights = [module.net.readout.weight for module in (one, same, other)]
    assert weights[0].equal(weights[1]) and not weights[0].equal(weights[2])
    assert (data.seed, others.seed) == (0, 1)
    assert range_test.accuracy(net, 0, 1e-9, FIXED) < 0.25  # it has not moved
    assert range_test.accuracy(net, 0, 0.1, ONE_CYCLE) > 0.5
    assert math.isnan(range_test.accuracy(net, 0, math.nan, FIXED))


def test_both_tests_are_compared_on_all_seeds_and_results_are_written(tmp_path, capsys, monkeypatch):
    """The range tests are replaced by constants, and the trainings by functions of their rate."""
    monkeypatch.setattr(range_test, "our_test", lambda net, seed: 0.1 * 4**seed)
    monkeypatch.setattr(range_test, "lightnings_test", lambda net, seed: 0.2)
    monkeypatch.setattr(range_test, "accuracy", lambda net, seed, rate, schedule: rate / (1 + (schedule == FIXED)))
    range_test.main(["--quick", "--out", str(tmp_path / "out.json")])
    [result] = json.loads((tmp_path / "out.json").read_text())["results"]
    ours, lightnings = result["ways"]
    assert (ours["way"], lightnings["way"]) == (OURS, LIGHTNING)
    assert ours["rates"] == ours[ONE_CYCLE] == pytest.approx([0.1, 0.4])
    assert ours[FIXED] == pytest.approx([0.05, 0.2])
    assert (ours["octaves"], lightnings["octaves"]) == (pytest.approx(2), 0)
    assert {"1.0"} <= result["one_cycle_at_multiples"].keys()
    printed = capsys.readouterr().out
    assert OURS in printed and LIGHTNING in printed and "× 1" in printed
    with pytest.raises(ValueError, match=r"^seeds = 0: "):
        range_test.main(["--seeds", "0"])
