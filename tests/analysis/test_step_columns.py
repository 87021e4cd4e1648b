"""Steps in columns: each belongs to one, and changes of the learning rate are where schedules have them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.analysis.step_columns import BROKEN, COLUMNS, GOOD, MISSING, ZERO, rate_changes, step_columns


@given(st.integers(0, 5000), st.integers(1, 60), st.integers(1, 3000))
def test_columns_hold_all_steps_in_order(first, every, count):
    steps = first + every * np.arange(count)
    columns = step_columns(steps)
    assert 1 <= len(columns.starts) <= COLUMNS and columns.starts[0] == 0
    assert (np.diff(columns.edges) > 0).all()
    column_of = np.searchsorted(columns.edges, columns.places(steps)) - 1
    np.testing.assert_array_equal(np.flatnonzero(np.diff(column_of, prepend=-1)), columns.starts)
    np.testing.assert_allclose(
        columns.mean(steps.astype(float)), [part.mean() for part in np.split(steps, columns.starts[1:])]
    )


def test_a_column_shows_the_worst_of_its_steps():
    columns = step_columns(range(COLUMNS * 3))
    lengths = np.full((4, COLUMNS * 3), np.e)
    lengths[1, 1], lengths[2, 1:3], measured = np.nan, [0, 1], np.ones(lengths.shape, bool)
    measured[3, :3] = False
    logs, states = columns.log_means(lengths, measured)
    assert states[:, 0].tolist() == [GOOD, BROKEN, ZERO, MISSING] and (states[:, 1:] == GOOD).all()
    np.testing.assert_allclose(logs[:, :2], [[1, 1], [np.nan, 1], [np.nan, 1], [np.nan, 1]])


@pytest.mark.parametrize(
    ("rates", "changes"),
    [
        ([0.1] * 5, []),
        ([0.1], []),
        ([1, 1, 0.1, 0.1, 0.01, 0.01], [2, 4]),
        ([1, 2, 3, 4, 3, 2, 1], [3]),
        ([1, 2, 3, 3, 3, 2, 1], [2, 4]),
        ([0.1, 0.1 + 1e-17, 0.1], []),
    ],
)
def test_changes_of_the_rate(rates, changes):
    assert rate_changes(rates).tolist() == changes
