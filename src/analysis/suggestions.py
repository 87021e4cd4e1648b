"""Learning rates that the range tests of a sweep suggest, summarized over the seeds of each configuration."""

import numpy as np
import pandas as pd

from start_training.analysis.columns import check_column
from start_training.schedules.rates.range_table import recorded_columns, score_column
from start_training.schedules.rates.rate_suggestion import enough, spread


def suggestions(curves: pd.DataFrame, *, by: str = "varied") -> pd.DataFrame:
    """Summarize the finished range tests of each configuration.

    Args:
        curves: Result of `sweep_curves` with kind `range_test`.
        by: Column whose values distinguish the configurations.

    Returns:
        One row for each value of `by`, in order of appearance. Columns:
        tests: The number of finished tests; usable: how many suggest a learning rate; turned: in how many the
            validation loss rose within the ramp; diverged: how many ended by divergence.
        max_lr: The median over tests; max_lr_low, max_lr_high: smallest and largest; octaves: log2(high / low). NaN if
            fewer than half of the tests suggest a rate.
        min_lr: The median lower rate for one cycle; cyclical_min_lr: the same for repeated cycles.
        val_loss: The lowest validation loss of a test, averaged over tests; val_loss_low, val_loss_high: its range;
            val_loss_error: standard error (NaN for one test); val_loss_rate: median learning rate at which it occurs.
        val_accuracy, …: The same for the highest validation accuracy; val_r2, … for a regression.
        overrides: The overrides of the first test without the seed.
    """
    ended = curves[curves["rule"].notna()] if "rule" in curves else curves[:0]
    if ended.empty:
        return pd.DataFrame(columns=[by, "tests", "max_lr"])
    score = score_column(recorded_columns(curves))
    tests = pd.DataFrame([_test(rows, by, score) for _, rows in ended.groupby("directory", sort=False)])
    options = tests.groupby(by, sort=False, dropna=False)
    rows = [{by: option, **_summary(of_option, score)} for option, of_option in options]
    return pd.DataFrame(rows).astype(dict.fromkeys(("tests", "usable", "turned", "diverged"), "int64"))


def rate_points(table: pd.DataFrame, *, x: str) -> pd.DataFrame:
    """Compute `suggestions` for each configuration, together with its option and an x coordinate.

    Args:
        table: Result of `sweep_curves` with kind `range_test`, and a column option that names the curve of each row.
        x: Column of numbers for the x coordinate.

    Returns:
        The rows of `suggestions`, with the additional columns option and x.

    Raises:
        ValueError: the table has no numeric column `x`, or no range test has ended.
    """
    check_column("x", x, table, numeric=True)
    rates = suggestions(table, by="configuration")
    if rates.empty:
        raise ValueError(f"x = {x}: no range test has ended yet")
    places = table.assign(x=table[x].astype(float)).groupby("configuration", sort=False)[["option", "x"]].first()
    return rates.merge(places, on="configuration")


def largest_rate(rates: pd.DataFrame) -> int:
    """Return the number of the row of `suggestions` with the largest max_lr; 0 if no row has one."""
    return int(np.nan_to_num(rates["max_lr"].to_numpy(float), nan=-np.inf).argmax())


def lowest_loss(rates: pd.DataFrame) -> int:
    """Return the number of the row of `suggestions` with the lowest validation loss; 0 if no loss is finite."""
    return int(np.nan_to_num(rates["val_loss"].to_numpy(float), nan=np.inf).argmin())


def indistinguishable(rates: pd.DataFrame, row: int, name: str) -> list[int]:
    """Find the configurations whose range of a quantity over seeds overlaps with that of a given configuration.

    A configuration with a single test has no range and counts as overlapping with all others.

    Args:
        rates: Result of `suggestions`.
        row: Number of the given configuration's row.
        name: `max_lr`, `val_loss` or the score, such as `val_accuracy`.

    Returns:
        The numbers of the other rows.
    """
    low, high, tests = (rates[column].to_numpy(float) for column in (f"{name}_low", f"{name}_high", "tests"))
    overlaps = (np.minimum(tests, tests[row]) < 2) | ((low <= high[row]) & (low[row] <= high))
    return [int(other) for other in np.flatnonzero(overlaps) if other != row]


def best_score(rates: pd.DataFrame) -> str:
    """Return the name of the column of `suggestions` that holds the best score, such as `val_accuracy`."""
    columns = [str(name).removesuffix("_rate") for name in rates if str(name).startswith("val_")]
    return next(name for name in columns if f"{name}_rate" in rates and name != "val_loss")


def _test(rows: pd.DataFrame, by: str, score: str) -> dict[str, object]:
    """Reduce the rows of one range test to its suggestions and its best validation loss and score."""
    first = rows.iloc[0]
    overrides = [word for word in str(first["name"]).split(" ") if not word.lstrip("+").startswith("seed=")]
    test = {
        **{name: first[name] for name in (by, "max_lr", "min_lr", "cyclical_min_lr", "turned")},
        "diverged": pd.notna(first.get("diverged_at")),
        "overrides": " ".join(overrides),
    }
    for name, best in (("val_loss", np.argmin), (score, np.argmax)):
        finite = rows[np.isfinite(rows[name].astype(float))]
        at = finite.iloc[int(best(finite[name].to_numpy(float)))] if len(finite) else pd.Series(dtype=float)
        test |= {name: at.get(name, np.nan), f"{name}_rate": at.get("learning_rate", np.nan)}
    return test


def _summary(tests: pd.DataFrame, score: str) -> dict[str, object]:
    return {
        "tests": len(tests),
        "usable": int(tests["max_lr"].notna().sum()),
        "turned": int(tests["turned"].astype(bool).sum()),
        **_rates(tests),
        **_best(tests, "val_loss"),
        **_best(tests, score),
        "diverged": int(tests["diverged"].sum()),
        "overrides": tests["overrides"].iloc[0],
    }


def _rates(tests: pd.DataFrame) -> dict[str, float]:
    if not enough(tests["max_lr"].to_list()):
        return dict.fromkeys(("max_lr", "max_lr_low", "max_lr_high", "octaves", "min_lr", "cyclical_min_lr"), np.nan)
    largest, least, cyclical = (spread(tests[name].to_list()) for name in ("max_lr", "min_lr", "cyclical_min_lr"))
    return {
        "max_lr": largest["median"],
        "max_lr_low": largest["smallest"],
        "max_lr_high": largest["largest"],
        "octaves": largest["octaves"],
        "min_lr": least["median"],
        "cyclical_min_lr": cyclical["median"],
    }


def _best(tests: pd.DataFrame, name: str) -> dict[str, object]:
    return {
        name: tests[name].mean(),
        f"{name}_low": tests[name].min(),
        f"{name}_high": tests[name].max(),
        f"{name}_error": tests[name].sem(),
        f"{name}_rate": tests[f"{name}_rate"].dropna().median(),  # without dropna, pandas 2.2 warns if all are NaN
    }
