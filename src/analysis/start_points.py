"""When training started, for each configuration of a sweep."""

import pandas as pd

from start_training.analysis.columns import check_column, setting_text


def start_points(table: pd.DataFrame, *, by: str | None, x: str) -> pd.DataFrame:
    """A row for each configuration with a run of which it is known whether it started.

    Args:
        table: Of `sweep_table`.
        by: The column that tells curves apart; None: there is one curve, `all`.
        x: A column of numbers.

    Returns:
        Columns by; configuration; x, its median over runs; mean of the observed epochs, and error, its standard error
        (NaN for one run); runs; started, how many of them; maximum, the epochs after which no run starts.

    Raises:
        ValueError: the table has no such columns, or no run with a known start has a number in `x`.
    """
    check_column("x", x, table, numeric=True)
    known = table.assign(by=curve_of(table, by))[table["started"].notna() & table[x].notna()]
    if known.empty:
        raise ValueError(f"x = {x}: known of no run of which it is known when it started")
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
    """The name of the curve that each run belongs to. Raises ValueError if the table has no column `by`."""
    if by is None:
        return pd.Series("all", index=table.index)
    check_column("by", by, table)
    return table[by].map(setting_text)
