"""Curves of learning rate range tests: their values by rate, means over runs, and what ramp they had."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from start_training.schedules.rate_suggestion import spread


def values_by_rate(curves: pd.DataFrame, name: str, *, smooth: int = 1) -> list[pd.Series]:
    """The finite values of a quantity by learning rate, of each run.

    Args:
        curves: Of `sweep_curves`, kind range_test.
        name: train_loss, val_loss, val_accuracy, or gap: validation loss − the mean training loss of the steps since
            the last validation.
        smooth: Steps over which the training loss is averaged.
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
    """The mean over runs at the rates at which all of them have a value: where one has ended, a mean would jump."""
    return pd.concat(runs, axis=1).sort_index().dropna().mean(axis=1)


def largest_rates(curves: pd.DataFrame) -> dict[str, float] | None:
    """How max_lr spreads over runs; None where no run has one."""
    rates = curves["max_lr"].groupby(curves["directory"]).first() if "max_lr" in curves else pd.Series(dtype=float)
    return spread(rates.to_list()) if rates.notna().any() else None


def is_exponential(curves: pd.DataFrame) -> bool:
    """Whether the rate in the middle of a ramp is nearer to the geometric mean of its ends than to the other one."""
    rates = max((rows["learning_rate"].to_numpy() for _, rows in curves.groupby("directory")), key=len)
    middle = rates[len(rates) // 2]
    return bool(abs(middle - np.sqrt(rates[0] * rates[-1])) < abs(middle - (rates[0] + rates[-1]) / 2))


def until_divergence(gap: pd.Series, loss: pd.Series) -> pd.Series:
    """The generalization gaps of a run as long as its validation loss is at most the first one."""
    return gap[(loss <= loss.iloc[0]).cummin()]


def _gap(rows: pd.DataFrame) -> pd.Series:
    validated = rows["val_loss"].notna()
    interval = validated.shift(fill_value=False).cumsum()
    train = rows["train_loss"].groupby(interval.to_numpy()).transform("mean")
    return (rows["val_loss"] - train)[validated]
