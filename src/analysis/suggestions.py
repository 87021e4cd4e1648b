"""What the range tests of a sweep suggest: a row for each configuration, over its seeds."""

import numpy as np
import pandas as pd

from start_training.analysis.columns import check_column
from start_training.schedules.rate_suggestion import spread


def suggestions(curves: pd.DataFrame, *, by: str = "varied") -> pd.DataFrame:
    """What the range tests of each configuration suggest, over those that have ended.

    Args:
        curves: Of `sweep_curves`, kind range_test.
        by: The column that names configurations.

    Returns:
        A row for each value of that column, in its order. tests: how many; usable: how many suggest a rate; turned: in
        how many validation got worse within the ramp; diverged: how many ended by it. max_lr: the median, max_lr_low
        and max_lr_high, octaves = log2(high / low), NaN without a rate. min_lr (for one cycle) and cyclical_min_lr:
        medians. val_loss: the mean over tests of the lowest validation loss, val_loss_low and val_loss_high, its range,
        val_loss_error, its standard error (NaN for one test), and val_loss_rate, the median rate at it; likewise
        val_accuracy of the highest. overrides: of its first test, without the seed.
    """
    ended = curves[curves["rule"].notna()] if "rule" in curves else curves[:0]
    if ended.empty:
        return pd.DataFrame(columns=[by, "tests", "max_lr"])
    tests = pd.DataFrame([_test(rows, by) for _, rows in ended.groupby("directory", sort=False)])
    rows = [{by: option, **_over(of_option)} for option, of_option in tests.groupby(by, sort=False, dropna=False)]
    return pd.DataFrame(rows).astype(dict.fromkeys(("tests", "usable", "turned", "diverged"), "int64"))


def rate_points(table: pd.DataFrame, *, x: str) -> pd.DataFrame:
    """`suggestions` of each configuration whose tests have ended, with its option, and x, its value in a column.

    Raises:
        ValueError: the table has no column of numbers `x`, or no test has ended.
    """
    check_column("x", x, table, numeric=True)
    rates = suggestions(table, by="configuration")
    if rates.empty:
        raise ValueError(f"x = {x}: no range test has ended yet")
    places = table.assign(x=table[x].astype(float)).groupby("configuration", sort=False)[["option", "x"]].first()
    return rates.merge(places, on="configuration")


def largest_rate(rates: pd.DataFrame) -> int:
    """The row of `suggestions` with the largest max_lr; 0 if there is no rate."""
    return int(np.nan_to_num(rates["max_lr"].to_numpy(float), nan=-np.inf).argmax())


def lowest_loss(rates: pd.DataFrame) -> int:
    """The row of `suggestions` with the lowest validation loss; 0 if none is finite."""
    return int(np.nan_to_num(rates["val_loss"].to_numpy(float), nan=np.inf).argmin())


def indistinguishable(rates: pd.DataFrame, row: int, name: str) -> list[int]:
    """The other rows whose range of a quantity over seeds meets that of a row.

    One test of a configuration has no range, and meets all.

    Args:
        rates: Of `suggestions`.
        row: Its number.
        name: max_lr, val_loss or val_accuracy.
    """
    low, high, tests = (rates[column].to_numpy(float) for column in (f"{name}_low", f"{name}_high", "tests"))
    meets = (np.minimum(tests, tests[row]) < 2) | ((low <= high[row]) & (low[row] <= high))
    return [int(other) for other in np.flatnonzero(meets) if other != row]


def _test(rows: pd.DataFrame, by: str) -> dict[str, object]:
    """A test by its extremes."""
    first = rows.iloc[0]
    overrides = [word for word in str(first["name"]).split(" ") if not word.lstrip("+").startswith("seed=")]
    test = {
        **{name: first[name] for name in (by, "max_lr", "min_lr", "cyclical_min_lr", "turned")},
        "diverged": pd.notna(first.get("diverged_at")),
        "overrides": " ".join(overrides),
    }
    for name, best in (("val_loss", np.argmin), ("val_accuracy", np.argmax)):
        finite = rows[np.isfinite(rows[name].astype(float))]
        at = finite.iloc[int(best(finite[name].to_numpy(float)))] if len(finite) else pd.Series(dtype=float)
        test |= {name: at.get(name, np.nan), f"{name}_rate": at.get("learning_rate", np.nan)}
    return test


def _over(tests: pd.DataFrame) -> dict[str, object]:
    return {
        "tests": len(tests),
        "usable": int(tests["max_lr"].notna().sum()),
        "turned": int(tests["turned"].astype(bool).sum()),
        **_rates(tests),
        **_best(tests, "val_loss"),
        **_best(tests, "val_accuracy"),
        "diverged": int(tests["diverged"].sum()),
        "overrides": tests["overrides"].iloc[0],
    }


def _rates(tests: pd.DataFrame) -> dict[str, float]:
    if tests["max_lr"].isna().all():
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
        f"{name}_rate": tests[f"{name}_rate"].dropna().median(),  # of none, pandas 2.2 warns
    }
