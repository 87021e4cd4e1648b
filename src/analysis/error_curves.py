"""Validation error after each epoch, and test error after the last one, for each configuration of a sweep."""

from typing import Any

import numpy as np
import pandas as pd

from start_training.analysis.phase_curves import run_counts

VALIDATION, TEST = "val/accuracy", "test/accuracy"


def error_curves(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each configuration and each epoch that all of its runs have reached.

    Args:
        table: Of `sweep_curves`, kind epochs, with the column option.

    Returns:
        Columns option; configuration; epochs, from 1; mean of the validation error in percent, and error, its standard
        error (NaN for one run); runs.

    Raises:
        ValueError: the table has no validation accuracy.
    """
    validated = _validated(table)
    if validated.empty:
        raise ValueError("table: holds no validation accuracy; datamodule.validation must be above 0")
    groups = validated.groupby(["option", "configuration", "epochs"], sort=False)[VALIDATION]
    curves = _in_percent(groups)
    return curves[curves["runs"] == curves["configuration"].map(run_counts(validated))].reset_index(drop=True)


def final_errors(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each configuration with a tested run: columns as of `error_curves`, of the test error.

    epochs: of its longest run.
    """
    tested = table[table[TEST].notna()] if TEST in table else table[:0].assign(**{TEST: np.nan})
    ends = _in_percent(tested.groupby(["option", "configuration"], sort=False)[TEST])
    return ends.assign(epochs=ends["configuration"].map(_validated(table).groupby("configuration")["epochs"].max()))


def best_of_shortest(curves: pd.DataFrame) -> "pd.Series[Any]":
    """The last row of `error_curves` of the best among the configurations with the fewest epochs."""
    lasts = _last_rows(curves, "configuration")
    shortest = lasts[lasts["epochs"] == lasts["epochs"].min()]
    return shortest.iloc[int(shortest["mean"].to_numpy().argmin())]


def epochs_until(curves: pd.DataFrame, error: float) -> pd.DataFrame:
    """When each option is as low as an error: the last row of its longest configuration, and `reached`.

    reached: the first epoch at which the mean over seeds is as low, NaN where there is none.
    """
    longest = _last_rows(curves, "option")
    first = curves[curves["mean"] <= error].groupby("configuration")["epochs"].min()
    return longest.assign(reached=longest["configuration"].map(first))


def _last_rows(curves: pd.DataFrame, of: str) -> pd.DataFrame:
    return curves.loc[curves.groupby(of, sort=False)["epochs"].idxmax()]


def _validated(table: pd.DataFrame) -> pd.DataFrame:
    validated = table[table[VALIDATION].notna()] if VALIDATION in table else table[:0]
    return validated.assign(epochs=validated["epoch"].astype(int) + 1)


def _in_percent(groups: Any) -> pd.DataFrame:
    errors = groups.agg(["mean", "sem", "size"]).set_axis(["mean", "error", "runs"], axis=1).reset_index()
    return errors.assign(mean=100 * (1 - errors["mean"]), error=100 * errors["error"])
