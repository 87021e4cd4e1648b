"""Tests of the benchmark `phase`; measured times are not tested."""

import json

import numpy as np
import pytest
import torch

from benchmarks import phase
from benchmarks._harness import results_table
from benchmarks._training_ways import BARE, LIGHTNING, STEP_COLUMNS, Turn
from benchmarks.phase import OFF, PHASE, WAYS
from start_training.datamodules.samples import Samples
from start_training.training.process_settings import quiet_lightning

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*smaller than the logging")


@pytest.fixture
def samples(generator):
    with quiet_lightning():
        yield Samples(torch.randn(200, 1, 4, 4, generator=generator), torch.randint(10, (200,), generator=generator))


def test_a_net_is_measured(samples, monkeypatch):
    monkeypatch.setattr(phase, "TESTED", 100)
    result = phase.measure(2, samples, turns=1, rounds=2, turn=Turn(2, 3), epochs=2)
    assert result["N"] == 4
    assert [row["way"] for row in result["steps"]] == [BARE, LIGHTNING, OFF, PHASE]
    assert [row["watcher"] for row in result["ends"]] == ["Phase", "TestMetrics"]
    assert all(row["share_of_epoch"] > 0 for row in result["ends"])
    assert results_table("noise", STEP_COLUMNS, result["steps"]).row_count == len(WAYS)
    json.dumps(result)


def test_shares_refer_to_an_epoch_with_callbacks_off_and_ratios_to_the_same_turn():
    steps = np.ones((3, 2, len(WAYS))) * [1.0, 2.0, 3.0, 3.3]
    steps[1] *= 2  # the second round ran at half the speed throughout
    ends = np.array([[3.0, 30.0], [6.0, 60.0], [3.0, 30.0]])
    result = phase.summary(steps, ends, 33)  # two batches
    assert [row["ratio"] for row in result["steps"]] == pytest.approx([1, 2, 3, 3.3])
    assert result["epoch_seconds"] == 6
    assert [row["share_of_epoch"] for row in result["ends"]] == pytest.approx([0.5, 5])
    assert result["ends"][0]["range"] == pytest.approx([0.5, 0.5])
