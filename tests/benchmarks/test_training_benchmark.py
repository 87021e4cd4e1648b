"""Tests of the benchmark `training`: it trains like scripts/train.py; measured times are not tested."""

import copy
import time
from itertools import islice

import numpy as np
import pytest
import torch

from benchmarks import _job_gaps, _training_ways, training
from benchmarks._harness import results_table
from benchmarks._nets import critical_net
from benchmarks._training_ways import BARE, LIGHTNING, TimedLoader, Turn
from benchmarks.training import BATCH, LENGTHS, OURS, OURS_WITH_BAR, WAYS
from start_training.datamodules.samples import Samples

TURN = Turn(1, 2)


@pytest.fixture
def samples(generator):
    inputs = torch.randn(2100, 1, 4, 4, generator=generator)
    return Samples(inputs, torch.randint(10, (2100,), generator=generator))


@pytest.fixture
def net(samples):
    return critical_net(16, 3, 3)


def test_the_timed_steps_begin_with_an_epoch_and_continue_through_later_epochs():
    assert list(TimedLoader(lambda epoch: [10 * epoch, 10 * epoch + 1], Turn(1, 3))) == [0, 10, 11, 20]


def test_the_time_includes_the_processing_of_batches_but_not_the_warm_up():
    timed = TimedLoader(lambda epoch: [0, 1], TURN)
    for index, _ in enumerate(timed):
        time.sleep(0.5 if index == 0 else 0.02)
    assert 0.04 < timed.seconds < 0.5  # a sleep is never shorter, and the long one is left out


def test_every_method_trains_a_copy_and_ends_with_the_same_weights_for_the_same_batches(net, samples, monkeypatch):
    one_order = list(islice(_training_ways.training_loader(samples, BATCH), 1))
    monkeypatch.setattr(_training_ways, "bare_epoch", lambda *_: [batch[:2] for batch in one_order])
    monkeypatch.setattr(_training_ways, "run_epoch", lambda *_: one_order)
    before = copy.deepcopy(net.state_dict())
    assert _training_ways.time_steps({LENGTHS: WAYS[LENGTHS]}, net, samples, Turn(1, 3), turns=1) > 0
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    ends = []
    for way in WAYS.values():
        trained = copy.deepcopy(net)
        assert way(trained, samples, Turn(1, 3)) > 0
        ends.append(trained.state_dict())
    assert not torch.equal(ends[0]["readout.weight"], before["readout.weight"])
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=0, atol=0)


@pytest.mark.slow
def test_a_net_is_measured(samples):
    result = training.measure(3, samples, turns=1, rounds=2, turn=TURN)
    assert [row["way"] for row in result["steps"]] == [BARE, LIGHTNING, OURS, OURS_WITH_BAR, LENGTHS]
    assert all(row["range"][0] <= row["ratio"] <= row["range"][1] for row in result["steps"])
    assert result["steps"][0]["ratio"] == 1
    assert all(value > 0 for value in result["epoch_end_milliseconds"].values())
    assert results_table("tiny", training.COLUMNS, result["steps"]).row_count == len(WAYS)


def test_summary_compares_within_turns_and_adds_the_time_of_writing_lengths():
    times = np.ones((3, 2, len(WAYS)))  # seconds; the second round ran at half the speed throughout
    times[..., -1] = 1.2
    times[1] *= 2
    rows = {row["way"]: row for row in training.summary(times, 0.1, training.goals(10))}
    assert rows[OURS]["ratio"] == 1
    assert rows[LENGTHS]["ratio"] == pytest.approx(1.3)
    assert rows[LENGTHS]["range"] == pytest.approx([1.25, 1.3])
    assert (rows[OURS]["met"], rows[LENGTHS]["met"], rows[BARE]["met"]) == (True, True, None)
    missed = {row["way"]: row["met"] for row in training.summary(times + 0.4 * (np.arange(5) == 2), 0.3, {OURS: 1.3})}
    assert missed[OURS] is False


@pytest.mark.slow
def test_the_gaps_between_the_jobs_of_a_real_multirun_are_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))  # digits
    gaps = _job_gaps.job_gaps("csv", jobs=3)
    assert len(gaps) == 2
    assert all(set(gap) == set(_job_gaps.PARTS) for gap in gaps)
    assert min(value for gap in gaps for value in gap.values()) > -0.01  # files' clocks are coarse
