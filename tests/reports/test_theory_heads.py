"""Heads of columns of predictions say what these suppose: a wide limit, or uniform brightness; at 80 columns too."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from start_training import diagnose
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.convolutional import Convolutional
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from start_training.reports.run_report import RecordedLengths, layers_table, lengths_table
from start_training.studies import picture

HE = VarianceScaling(2.0)
WIDE, UNIFORM = "wide limit", "uniform brightness"
IMAGE = partial(Convolutional, (1, 4, 4), 2, depth=3, channels=5)
ADDING = partial(Residual, 6, 2, modules=3, width=6)
CASES = [
    (FullyConnected(6, 2, widths=[8, 5]), ()),
    (ADDING(), (WIDE,)),
    (ADDING(activation="tanh"), None),
    (ADDING(ending="linear"), ()),
    (IMAGE(), ()),
    (IMAGE(padding="zeros"), (UNIFORM,)),
    (IMAGE(residual=True), (WIDE, UNIFORM)),
    (IMAGE(residual=True, padding="zeros", activation="linear"), (UNIFORM,)),
    (IMAGE(residual=True, activation="linear"), ()),
]


def words(table):
    """Return the words of a table that is printed on 80 columns, without its title."""
    output = io.StringIO()
    Console(file=output, width=80).print(table)
    lines = output.getvalue().splitlines()[1:]
    assert max(map(len, lines)) <= 80
    return "".join(lines).replace("┃", " ").replace("│", " ").split()


@pytest.mark.parametrize("net, supposes", CASES, ids=str)
def test_each_law_states_what_its_mean_length_supposes(net, supposes):
    law = net.law(HE)
    assert (law and law.supposes) == supposes
    if supposes is not None and UNIFORM in supposes:  # an image's own brightness is not supposed
        assert UNIFORM not in replace(law, profile=np.arange(16.0).reshape(4, 4)).supposes


@pytest.mark.parametrize("supposes", [(), (WIDE,), (UNIFORM,), (WIDE, UNIFORM)], ids=str)
def test_every_table_with_predictions_has_them_in_its_head(supposes):
    numbers = dict.fromkeys(("log_mean", "log_mean_error", "log_mean_theory", "median", "low", "high"), -12.345)
    layers = pd.DataFrame({"layer": range(3), "name": "residual_modules.0", "dead": 0.5, **numbers})
    logs = pd.DataFrame({"layer": range(3), "initializer": "he_normal", "log_length": 0.0, "log_mean_theory": 0.0})
    lengths, nothing = np.ones(3), pd.DataFrame()
    recorded = RecordedLengths(
        nothing, None, lengths, None, ["residual_modules.0"] * 3, lengths, lengths, lengths, lengths, supposes, 9
    )
    expected = f"({', '.join(supposes)})".split() if supposes else []
    for table in (layers_table(layers, supposes), lengths_table(recorded), picture.lengths_table(logs, supposes)):
        shown = words(table)
        assert {"theory", *expected} <= {*shown}
        assert ("(" in "".join(shown)) == bool(supposes)


def test_a_diagnosis_says_what_its_predictions_suppose():
    diagnosis = diagnose(ADDING(), torch.randn(2, 6), initializer=HE, nets=2)
    assert str(diagnosis).count("theory (wide") == 2  # failure modes 1 and 2
    assert "(wide" not in str(diagnose(ADDING(ending="linear"), torch.randn(2, 6), initializer=HE, nets=2))
