"""The benchmark tests and trains what it says; how good the suggestions are is no test."""

import json
import math

import pytest

from src.benchmarks import range_test
from src.benchmarks.range_test import FIXED, LIGHTNING, MULTIPLES, ONE_CYCLE, OURS
from src.jobs.train import quiet_lightning

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@pytest.fixture(autouse=True)
def quiet():
    with quiet_lightning():
        yield


@pytest.fixture
def case():
    return range_test.cases(quick=True)[0]


def test_a_seed_has_its_net_and_its_batches(case):
    (one, data), (same, _), (other, others) = (case.module(seed, rate=0.1) for seed in (0, 0, 1))
    weights = [module.net.readout.weight for module in (one, same, other)]
    assert weights[0].equal(weights[1]) and not weights[0].equal(weights[2])
    assert (data.seed, others.seed) == (0, 1)


def test_ours_is_what_the_callback_suggests_and_has_no_chance_in_it(case):
    rates = [range_test.our_test(case, seed) for seed in (0, 0, 1)]
    assert rates[0] == rates[1] != rates[2]
    assert 0.01 < rates[0] < 1


def test_training_is_at_the_rate_given(case):
    assert range_test.accuracy(case, 0, 1e-9, FIXED) < 0.25  # it has not moved
    assert range_test.accuracy(case, 0, 0.05, FIXED) > 0.5
    assert range_test.accuracy(case, 0, 0.1, ONE_CYCLE) > 0.5
    assert math.isnan(range_test.accuracy(case, 0, math.nan, FIXED))


@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
def test_it_compares_both_on_all_seeds_and_writes_the_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(range_test, "MULTIPLES", (1.0,))
    range_test.main(["--quick", "--out", str(tmp_path / "out.json")])
    [result] = json.loads((tmp_path / "out.json").read_text())["results"]
    ours, lightnings = result["ways"]
    assert (ours["way"], lightnings["way"]) == (OURS, LIGHTNING)
    for row in (ours, lightnings):
        assert len(row["rates"]) == len(row[ONE_CYCLE]) == len(row[FIXED]) == 2
        assert row["octaves"] == pytest.approx(math.log2(max(row["rates"]) / min(row["rates"])))
        assert all(0 <= value <= 1 for value in row[ONE_CYCLE])
    assert result["one_cycle_at_multiples"].keys() == {"1.0"}
    assert 1.0 in MULTIPLES
    said = capsys.readouterr().out
    assert OURS in said and LIGHTNING in said and "× 1" in said


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"^seeds = 0: "):
        range_test.main(["--seeds", "0"])
