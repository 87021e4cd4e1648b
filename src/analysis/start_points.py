"""The epoch at which training started, averaged over the runs of each configuration of a sweep."""

import pandas as pd

from start_training.analysis.columns import check_column, setting_text


def start_points(table: pd.DataFrame, *, by: str | None, x: str) -> pd.DataFrame:
    """Average the start epoch over the runs of each configuration.

    A run counts if it is known whether its training started. A run whose training never started counts with the
    maximum number of epochs, so that the mean is a lower bound.

    Args:
        table: Result of `sweep_table`.
        by: Column whose values distinguish the curves; None makes a single curve named `all`.
        x: Column of numbers for the x coordinate.

    Returns:
        One row for each configuration with at least one such run. Columns by, the name of the curve; configuration; x,
        the median over runs; mean, the mean of observed_epoch, and error, its standard error (NaN for one run); runs,
        the number of runs; started, how many of them started; maximum, the largest max_epochs.

    Raises:
        ValueError: the table has no column `by` or no numeric column `x`, or no run counts that has a number in `x`.
    """
    check_column("x", x, table, numeric=True)
    known = table.assign(by=curve_of(table, by))[table["started"].notna() & table[x].notna()]
    if known.empty:
        raise ValueError(f"x = {x}: no run has both a known start of training and a number in this column")
    known = known.assign(x=known[x].astype(float), epoch=known["observed_epoch"].astype(float))
    groups = known.groupby(["by", "configuration"], sort=False)
    return groups.agg(
        x=("x", "median"),
        mean=("epoch", "mean"),
        error=("epoch", "sem"),
        runs=("epoch", "size"),
        started=("started", "sum"),
        maximum=("max_epochs", "max"),
    ).reset_index()


def curve_of(table: pd.DataFrame, by: str | None) -> pd.Series:
    """Return the name of the curve that each run belongs to.

    Args:
        table: Result of `sweep_table`.
        by: Column whose values distinguish the curves; None makes a single curve named `all`.

    Raises:
        ValueError: the table has no column `by`.
    """
    if by is None:
        return pd.Series("all", index=table.index)
    check_column("by", by, table)
    return table[by].map(setting_text)
