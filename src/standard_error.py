"""The mean of independent samples and its standard error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import sem


def mean_and_error(samples: ArrayLike) -> tuple[Any, Any]:
    """Compute the mean over the first axis and its standard error (with ddof 1).

    Args:
        samples: Independent samples, shape (samples, …).

    Returns:
        Mean and standard error, both of shape (…); plain numbers if `samples` has one axis. The error of a single
        sample is NaN.

    Example:
        >>> mean, error = mean_and_error([1.0, 3.0])
        >>> float(mean), float(error)
        (2.0, 1.0)
    """
    values = np.asarray(samples, np.float64)
    error = sem(values) if len(values) > 1 else np.full(values.shape[1:], np.nan)[()]
    return values.mean(0), error


def mean_of_runs(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard error over runs; the error is NaN for one run, and infinite if a value is not finite."""
    return mean_and_error(values) if np.isfinite(values).all() else (float(np.mean(values)), np.inf)
