"""The rows of lengths/ and steps/ are the statistics of the packed readings, step by step and layer by layer."""

import numpy as np
import pandas as pd
import pytest
import torch

from start_training.lengths.statistics import reading, unpack
from start_training.runs.length_tables import Step, length_rows, step_rows

NAMES, SAMPLES = ("input", "hidden.1", "hidden.3"), 7
STEPS = [Step(4, 0, 0.1, 2.0), Step(6, 1, 0.05, float("nan"))]


@pytest.fixture
def lengths() -> torch.Tensor:
    """Of (steps, layers, samples)."""
    return torch.rand(2, 3, SAMPLES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def statistics(lengths):
    return unpack(torch.stack([reading(of_step) for of_step in lengths]).numpy())


def test_lengths_have_a_row_for_each_step_and_layer(lengths):
    rows = length_rows(NAMES, STEPS, statistics(lengths))
    expected = {"step": [4, 4, 4, 6, 6, 6], "layer": [0, 1, 2] * 2, "name": NAMES * 2, "mean": lengths.mean(2).ravel()}
    expected |= {"variance": lengths.var(2).ravel(), "count": SAMPLES}
    pd.testing.assert_frame_equal(rows, pd.DataFrame(expected).astype({"layer": "int32"}), rtol=1e-12)


def test_steps_have_a_row_each(lengths):
    lengths[1, 2, 3] = torch.inf
    rows = step_rows(STEPS, statistics(lengths))
    columns = ["step", "epoch", "loss", "learning_rate"]
    expected = pd.DataFrame({"step": [4, 6], "epoch": [0, 1], "loss": [2.0, np.nan], "learning_rate": [0.1, 0.05]})
    pd.testing.assert_frame_equal(rows[columns], expected, check_exact=True)
    slope = np.polyfit(np.arange(3), lengths[0].mean(1).log().numpy(), 1)[0]
    assert rows["growth_rate"].tolist() == pytest.approx([slope, np.nan], nan_ok=True)
    hidden = lengths[0, 1:].numpy()
    assert rows["layer_variance"][0] == pytest.approx(hidden.var(0).mean())
    assert rows["relative_layer_variance"][0] == pytest.approx((hidden.var(0) / hidden.mean(0) ** 2).mean())
    assert rows["first_nonfinite_layer"].isna().tolist() == [True, False]
    assert rows["first_nonfinite_layer"][1] == 2
