"""Means and their standard errors."""

import numpy as np
import pytest

from start_training.standard_error import mean_and_error


def test_the_error_is_that_of_a_mean_and_nan_for_a_single_sample():
    mean, error = mean_and_error([[1.0, 2.0]])
    assert mean.tolist() == [1, 2] and np.isnan(error).tolist() == [True, True]
    assert mean_and_error([1.0, 3.0]) == (2, pytest.approx(1.0))
    mean, error = mean_and_error([5.0])
    assert isinstance(error, float) and np.isnan(error) and mean == 5
    mean, error = mean_and_error([[1.0, 2.0], [3.0, 8.0]])
    assert (mean.tolist(), error.tolist()) == ([2, 5], pytest.approx([1, 3]))
