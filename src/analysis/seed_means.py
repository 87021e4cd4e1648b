"""Means over seeds, and their standard errors."""

import numpy as np
import pandas as pd


def seed_means(rows: pd.DataFrame, y: str, *, key: str, x: str | None = None) -> pd.DataFrame:
    """The mean of a column over seeds wherever all of them have a finite value: the mean of survivors would flatter.

    Args:
        rows: Of one option, with the column seed.
        y: The column.
        key: The column of the places at which seeds are compared.
        x: The column whose mean is the place of a mean; None: `key`.

    Returns:
        A row for each value of `key`, in columns x, mean and error, the standard error of the mean (NaN for one seed).
    """
    means = (
        rows[np.isfinite(rows[y])]
        .groupby(key)
        .agg(x=(x or key, "mean"), mean=(y, "mean"), error=(y, "sem"), seeds=(y, "size"))
    )
    return means[means["seeds"] == rows["seed"].nunique()]
