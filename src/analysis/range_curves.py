"""Curves of learning rate range tests: values by learning rate, means over runs, and the kind of the ramp."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from start_training.schedules.rate_suggestion import enough, spread


def values_by_rate(curves: pd.DataFrame, name: str, *, smooth: int = 1) -> list[pd.Series]:
    """Return the finite values of a quantity against the learning rate, for each run.

    Args:
        curves: Result of `sweep_curves` with kind `range_test`.
        name: `train_loss`, `val_loss`, `val_accuracy`, or `gap`: the validation loss minus the mean training loss over
            the steps since the previous validation.
        smooth: Number of steps over which the training loss is averaged; other quantities are not averaged.

    Returns:
        One series for each run, whose index is the learning rate.
    """
    runs = []
    for _, rows in curves.groupby("directory", sort=False):
        rows = rows.set_index("learning_rate").sort_values("step")
        values = _gap(rows) if name == "gap" else rows[name].astype(float)
        if name == "train_loss" and smooth > 1:
            values = values.rolling(smooth, center=True, min_periods=1).mean()
        runs.append(values[np.isfinite(values)])
    return runs


def mean_by_rate(runs: Sequence[pd.Series]) -> pd.Series:
    """Average over runs at the learning rates at which every run has a value.

    Other rates are left out, because the mean would jump where a run ends. If the runs have no rates in common, as
    adaptive tests, each is interpolated linearly in log(rate) at the rates of all, within the range that all cover.

    Args:
        runs: One series for each run, as returned by `values_by_rate`.
    """
    table = pd.concat(runs, axis=1).sort_index()
    if len(common := table.dropna()) or not all(map(len, runs)):
        return common.mean(axis=1)
    low, high = max(run.index.min() for run in runs), min(run.index.max() for run in runs)
    rates = table.index[(table.index >= low) & (table.index <= high)]
    values = [np.interp(np.log(rates), np.log(run.index), run) for run in runs]
    return pd.Series(np.mean(values, axis=0), rates)


def largest_rates(curves: pd.DataFrame) -> dict[str, float] | None:
    """Summarize the largest usable learning rates, max_lr, that the range tests of several runs suggest.

    Args:
        curves: Result of `sweep_curves` with kind `range_test`.

    Returns:
        smallest, largest, median, geometric_mean, and octaves = log2(largest / smallest); None if fewer than
        half of the runs have a max_lr.
    """
    rates = curves["max_lr"].groupby(curves["directory"]).first() if "max_lr" in curves else pd.Series(dtype=float)
    return spread(rates.to_list()) if enough(rates.to_list()) else None


def is_exponential(curves: pd.DataFrame) -> bool:
    """Return whether the learning rate grew exponentially rather than linearly, judged by the longest run.

    It did if the rate in the middle of the ramp is nearer to the geometric than to the arithmetic mean of its ends.

    Args:
        curves: A table with the columns directory and learning_rate.
    """
    rates = max((rows["learning_rate"].to_numpy() for _, rows in curves.groupby("directory")), key=len)
    middle = rates[len(rates) // 2]
    return bool(abs(middle - np.sqrt(rates[0] * rates[-1])) < abs(middle - (rates[0] + rates[-1]) / 2))


def until_divergence(gap: pd.Series, loss: pd.Series) -> pd.Series:
    """Return the generalization gaps of a run up to the first validation loss above the initial one.

    Args:
        gap: Validation loss minus training loss, by learning rate.
        loss: Validation loss at the same learning rates.
    """
    return gap[(loss <= loss.iloc[0]).cummin()]


def _gap(rows: pd.DataFrame) -> pd.Series:
    validated = rows["val_loss"].notna()
    interval = validated.shift(fill_value=False).cumsum()
    train = rows["train_loss"].groupby(interval.to_numpy()).transform("mean")
    return (rows["val_loss"] - train)[validated]
