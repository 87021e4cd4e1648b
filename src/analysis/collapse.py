"""How well the curves of a sweep lie on each other, at equal epochs and at equal rescaled time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import sem

Array = NDArray[np.float64]
QUANTITIES = {"J2": "$J^2$", "test/loss": "test loss", "test/accuracy": "test accuracy"}
GROWTH = "growth"
TIMES = ("epoch", "rescaled")
POINTS = 60  # in time, at which curves are compared
TOGETHER = 1e-6  # relative difference up to which scaling variables are equal


def collapse(rows: pd.DataFrame) -> pd.DataFrame:
    """The spread of curves between configurations, for each group of runs, time, quantity and phase.

    No row where fewer than two configurations share some time; of `equal`, the root mean square over groups.

    Args:
        rows: Of `watched`.

    Returns:
        runs: `all`, at each of `TIMES`, or `equal` scaling variables, at equal epochs, where the two times say the
            same.
        time; quantity: one of `QUANTITIES`, or growth, the rate at which J² grew, its mean over the time in that phase:
            the spread of A, and of the law's constant.
        phase: `ordered`, where the mean curve of J² is below 1, or `past` the edge.
        spread, error: of each seed the root mean square, over the time in that phase, of the standard deviation between
            configurations relative to their mean; then the mean over seeds and its standard error (NaN for one seed).
        noise: likewise between seeds of one configuration, NaN for one.
        curves, seeds; start, end: the time compared, in the unit of `time`; only times that all curves have, and seeds
            that all configurations have.
    """
    spreads = [_spreads(rows, time).assign(runs="all", time=time) for time in TIMES]
    groups = [_spreads(group, "epoch") for _, group in rows.groupby(scaling_group(rows))]
    if any(map(len, groups)):
        spreads.append(_over_groups(pd.concat(groups)).assign(runs="equal", time="epoch"))
    columns = ["runs", "time", "quantity", "phase", "spread", "error", "noise", "curves", "seeds", "start", "end"]
    return pd.concat(spreads, ignore_index=True).reindex(columns=columns)


def scaling_group(rows: pd.DataFrame) -> "pd.Series[float]":
    """Of each row its scaling variable, the same number for those that differ by rounding alone."""
    names: dict[float, float] = {}
    group = -np.inf
    for value in sorted(rows["scaling"].unique()):
        group = group if value <= group * (1 + TOGETHER) else value
        names[value] = group
    return rows["scaling"].map(names)


def spread_in_time(rows: pd.DataFrame, time: str, quantity: str) -> pd.DataFrame:
    """The standard deviation between configurations relative to their mean, at times that all curves have.

    Returns:
        Columns time; spread, its mean over seeds; mean, the mean curve of J². Empty for one configuration, and where
        no time is shared.
    """
    grid, values, J2 = _compared(rows, time, quantity)
    return pd.DataFrame({"time": grid, "spread": _relative(values, 0).mean(axis=0), "mean": J2.mean(axis=(0, 1))})


def _spreads(rows: pd.DataFrame, time: str) -> pd.DataFrame:
    spreads = []
    for quantity in (*QUANTITIES, GROWTH):
        grid, values, J2 = _compared(rows, time, "J2" if quantity == GROWTH else quantity)
        ordered = J2.mean(axis=(0, 1)) < 1
        for phase, inside in (("ordered", ordered), ("past", ~ordered)):
            if inside.sum() > 1 and np.isfinite(values).all():
                within = values[:, :, inside]
                within = within[..., -1:] - within[..., :1] if quantity == GROWTH else within
                size = {"curves": values.shape[0], "seeds": values.shape[1]}
                times = {"start": grid[inside][0], "end": grid[inside][-1]}
                spreads.append({"quantity": quantity, "phase": phase, **_spread(within), **size, **times})
    return pd.DataFrame(spreads)


def _spread(values: Array) -> dict[str, float]:
    """Of shape (configuration, seed, time)."""
    between = np.sqrt((_relative(values, 0) ** 2).mean(axis=-1))  # of each seed
    several = values.shape[1] > 1
    return {
        "spread": float(between.mean()),
        "error": float(sem(between)) if several else np.nan,
        "noise": float(np.sqrt((_relative(values, 1) ** 2).mean())) if several else np.nan,
    }


def _relative(values: Array, axis: int) -> Array:
    """Standard deviation along an axis over the mean along it."""
    return values.std(axis=axis, ddof=1) / np.abs(values.mean(axis=axis))


def _compared(rows: pd.DataFrame, time: str, quantity: str) -> tuple[Array, Array, Array]:
    """Times, and at them a quantity and J², each (configuration, seed, time); no time where nothing can be compared."""
    seeds = [set(group["seed"]) for _, group in rows.groupby("configuration")]
    shared = sorted(set.intersection(*seeds)) if len(seeds) > 1 else []
    grid = _shared_times(rows, time, quantity) if shared else np.array([])
    if not len(grid):
        return grid, np.empty((2, 1, 0)), np.empty((2, 1, 0))
    values, J2 = (_values(rows, time, name, grid, shared) for name in (quantity, "J2"))
    return grid, values, J2


def _shared_times(rows: pd.DataFrame, time: str, quantity: str) -> Array:
    """From the latest first measurement after initialization to the earliest last one; none if these do not overlap."""
    later = rows[(rows["epoch"] > 0) & rows[quantity].notna()] if quantity in rows else rows[:0]
    ends = later.groupby("directory")[time].agg(["min", "max"])
    if len(ends) < rows["directory"].nunique():
        return np.array([])
    start, end = ends["min"].max(), ends["max"].min()
    return np.linspace(start, end, POINTS) if start < end else np.array([])


def _values(rows: pd.DataFrame, time: str, quantity: str, grid: Array, seeds: Sequence[int]) -> Array:
    """Of shape (configuration, seed, time), on lines between measurements; NaN where there are none."""
    known = rows.dropna(subset=quantity)
    runs = dict(iter(known.groupby(["configuration", "seed"])))
    return np.array(
        [
            [_interpolated(runs.get((name, seed)), time, quantity, grid) for seed in seeds]
            for name in rows["configuration"].unique()
        ]
    )


def _interpolated(run: pd.DataFrame | None, time: str, quantity: str, grid: Array) -> Array:
    if run is None:
        return np.full(len(grid), np.nan)
    return np.interp(grid, run[time].to_numpy(float), run[quantity].to_numpy(float))


def _over_groups(spreads: pd.DataFrame) -> pd.DataFrame:
    """Root mean square over groups of equal scaling; their errors are independent."""
    rows = []
    for (quantity, phase), group in spreads.groupby(["quantity", "phase"], sort=False):
        spread = float(np.sqrt((group["spread"] ** 2).mean()))
        error = float(np.sqrt(((group["spread"] * group["error"]) ** 2).sum()) / len(group) / max(spread, 1e-300))
        sizes = {"curves": group["curves"].sum(), "seeds": group["seeds"].min(), "start": np.nan, "end": np.nan}
        noise = float(np.sqrt((group["noise"] ** 2).mean()))
        rows.append({"quantity": quantity, "phase": phase, "spread": spread, "error": error, "noise": noise, **sizes})
    return pd.DataFrame(rows)
