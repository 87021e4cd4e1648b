"""Validation error after each epoch, and test error after the last one, for each configuration of a sweep."""

from typing import Any

import numpy as np
import pandas as pd

from start_training.analysis.phase_curves import run_counts

VALIDATION, TEST = "val/accuracy", "test/accuracy"


def error_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Average the validation error over the runs of each configuration, after each epoch that all runs have reached.

    Args:
        table: Result of `sweep_curves` with kind `epochs`, and a column option that names the curve of each row.

    Returns:
        One row for each configuration and epoch. Columns option; configuration; epochs, counted from 1; mean, the
        validation error in percent; error, its standard error (NaN for one run); runs, the number of runs.

    Raises:
        ValueError: the table has no validation accuracy.
    """
    validated = _validated(table)
    if validated.empty:
        raise ValueError("table: no run has a validation accuracy; train with datamodule.validation above 0")
    groups = validated.groupby(["option", "configuration", "epochs"], sort=False)[VALIDATION]
    curves = _in_percent(groups)
    return curves[curves["runs"] == curves["configuration"].map(run_counts(validated))].reset_index(drop=True)


def final_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Average the test error over the runs of each configuration.

    Args:
        table: Result of `sweep_curves` with kind `epochs`, and a column option that names the curve of each row.

    Returns:
        One row for each configuration that has a tested run, with the columns of `error_curves`; mean and error are
        of the test error in percent, epochs is the length of the longest run.
    """
    tested = table[table[TEST].notna()] if TEST in table else table[:0].assign(**{TEST: np.nan})
    ends = _in_percent(tested.groupby(["option", "configuration"], sort=False)[TEST])
    return ends.assign(epochs=ends["configuration"].map(_validated(table).groupby("configuration")["epochs"].max()))


def best_of_shortest(curves: pd.DataFrame) -> "pd.Series[Any]":
    """Return the last row of the best configuration among those that were trained for the fewest epochs.

    Args:
        curves: Result of `error_curves`.
    """
    last_rows = _last_rows(curves, "configuration")
    shortest = last_rows[last_rows["epochs"] == last_rows["epochs"].min()]
    return shortest.iloc[int(shortest["mean"].to_numpy().argmin())]


def epochs_until(curves: pd.DataFrame, error: float) -> pd.DataFrame:
    """Find the first epoch at which the longest configuration of each option has at most a given error.

    Args:
        curves: Result of `error_curves`.
        error: Validation error in percent.

    Returns:
        One row for each option: the last row of its longest configuration, and the column reached, the first epoch at
        which the mean over seeds is at most `error`; NaN if there is none.
    """
    longest = _last_rows(curves, "option")
    first = curves[curves["mean"] <= error].groupby("configuration")["epochs"].min()
    return longest.assign(reached=longest["configuration"].map(first))


def _last_rows(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    return curves.loc[curves.groupby(column, sort=False)["epochs"].idxmax()]


def _validated(table: pd.DataFrame) -> pd.DataFrame:
    validated = table[table[VALIDATION].notna()] if VALIDATION in table else table[:0]
    return validated.assign(epochs=validated["epoch"].astype(int) + 1)


def _in_percent(groups: Any) -> pd.DataFrame:
    """Turn groups of accuracies into rows of the mean error in percent, its standard error and the number of runs."""
    errors = groups.agg(["mean", "sem", "size"]).set_axis(["mean", "error", "runs"], axis=1).reset_index()
    return errors.assign(mean=100 * (1 - errors["mean"]), error=100 * errors["error"])
