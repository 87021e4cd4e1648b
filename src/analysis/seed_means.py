"""Means over seeds and their standard errors."""

import numpy as np
import pandas as pd


def seed_means(rows: pd.DataFrame, y: str, *, key: str, x: str | None = None) -> pd.DataFrame:
    """Average a column over seeds, wherever all seeds have a finite value.

    Points that some seeds do not reach are left out, since a mean over the remaining seeds would be biased towards runs
    that did not diverge.

    Args:
        rows: Rows of one option, with a column seed.
        y: Column to average.
        key: Column by which the rows of different seeds are matched, such as epoch or step.
        x: Column that is averaged in the same way to give the x coordinate; None uses `key`.

    Returns:
        One row for each value of `key` that all seeds have. Columns x; mean; error, the standard error of the mean
        (NaN for one seed); seeds, the number of seeds.
    """
    means = (
        rows[np.isfinite(rows[y])]
        .groupby(key)
        .agg(x=(x or key, "mean"), mean=(y, "mean"), error=(y, "sem"), seeds=(y, "size"))
    )
    return means[means["seeds"] == rows["seed"].nunique()]
