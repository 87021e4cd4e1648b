"""A survey measures all layers, and after the choice gives the norms that a capture of the chosen layers gives."""

import pytest
import torch
from torch import nn

from start_training.lengths.activation_length import activation_norms
from start_training.lengths.capture import Capture
from start_training.lengths.survey import Survey, pool_norms, resolved

TIME, SAMPLES, WIDTH = 6, 4, 8


class Flattened(nn.Module):
    """An LSTM with time first, a layer of rows of flattened time steps and samples, and a table without samples."""

    def __init__(self):
        super().__init__()
        self.lstm, self.rows, self.table = nn.LSTM(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Embedding(TIME, WIDTH)
        self.cell, self.act = nn.GRUCell(WIDTH, WIDTH), nn.ReLU()

    def forward(self, x):
        hidden = self.lstm(x)[0] + self.table(torch.arange(TIME)).unsqueeze(1)
        state = None
        for step in self.act(self.rows(hidden.flatten(0, 1))).unflatten(0, hidden.shape[:2]):
            state = self.cell(step, state)
        return state


class Images(nn.Module):
    """A convolution, and a layer of rows of flattened samples and positions."""

    def __init__(self):
        super().__init__()
        self.conv, self.rows, self.act = nn.Conv2d(3, WIDTH, 3), nn.Linear(WIDTH, WIDTH), nn.ReLU()

    def forward(self, x):
        return self.act(self.rows(self.conv(x).flatten(2).transpose(1, 2).flatten(0, 1)))


@pytest.mark.parametrize(
    ("net", "batch", "axis", "counts"),
    [
        (
            Flattened(),
            torch.randn(TIME, SAMPLES, WIDTH),
            None,
            {"input": SAMPLES, "lstm": SAMPLES, "rows": SAMPLES, "table": 1, "cell": SAMPLES, "act": SAMPLES},
        ),
        (
            Images(),
            torch.randn(SAMPLES, 3, 5, 5),
            None,
            {"input": SAMPLES, "conv": SAMPLES, "rows": SAMPLES, "act": SAMPLES},
        ),
        (
            Images(),
            torch.randn(SAMPLES, 3, 5, 5),
            {"conv": 1, "rows": 0},
            {"input": SAMPLES, "conv": WIDTH, "rows": SAMPLES * 9, "act": SAMPLES},
        ),
    ],
)
def test_a_survey_agrees_with_a_capture_of_the_chosen_layers(net, batch, axis, counts):
    survey = Survey(net, ["*"], sample_axis=axis)
    survey.begin(batch)
    survey.start()
    net(batch)
    readings = survey.stop()
    survey.remove()
    choice = survey.choose()
    capture = Capture(net, choice, measure=activation_norms, pool=pool_norms)
    capture.start()
    net(batch)
    expected = capture.stop()
    surveyed = capture.numbered(resolved(readings, choice))
    capture.remove()
    assert [reading.name for reading in surveyed] == [reading.name for reading in expected]
    for ours, theirs in zip(surveyed, expected, strict=True):
        assert ours.sampled == theirs.sampled == (counts.get(ours.name, 0) != 1)
        of_each = [norms.double().square() / values for norms, values in (ours.lengths, theirs.lengths)]
        torch.testing.assert_close(*of_each)
        if ours.name in counts:
            assert len(of_each[0]) == counts[ours.name]
