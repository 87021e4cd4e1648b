"""The spread between the curves of a sweep, at equal epochs and at equal rescaled time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import sem

Array = NDArray[np.float64]
QUANTITIES = {"J2": "$J^2$", "test/loss": "test loss", "test/accuracy": "test accuracy"}
GROWTH = "growth"
TIMES = ("epoch", "rescaled")
POINTS = 60  # number of times at which curves are compared
EQUAL_WITHIN = 1e-6  # relative difference up to which scaling variables count as equal


def collapse(rows: pd.DataFrame) -> pd.DataFrame:
    """Compute the spread of curves between configurations, for each group of runs, time, quantity and phase.

    Only times that all curves have and seeds that all configurations have are compared.

    Args:
        rows: Result of `layer_rows`.

    Returns:
        A table with one row for each combination that at least two configurations have in common. Columns:
        runs: `all` for all runs, or `equal` for runs that have the same scaling variable; the latter are compared at
            equal epochs only, and the spread is the root mean square over the groups of equal scaling variable.
        time: The time at which curves are compared, one of `TIMES`.
        quantity: One of `QUANTITIES`, or `growth`: the mean growth rate of J² in that phase.
        phase: `ordered`, where the mean curve of J² is below 1, or `past` (past the edge of chaos).
        spread, error: The standard deviation between configurations divided by their mean, as root mean square over
            the times in that phase; mean over seeds, and its standard error (NaN for one seed).
        noise: The same between the seeds of a configuration, root mean square over configurations; NaN for one seed.
        curves, seeds: The number of configurations and of seeds.
        start, end: The first and the last time compared, in the unit of `time`; NaN for `equal`.
    """
    spreads = [_spreads(rows, time).assign(runs="all", time=time) for time in TIMES]
    groups = [_spreads(group, "epoch") for _, group in rows.groupby(scaling_group(rows))]
    if any(map(len, groups)):
        spreads.append(_over_groups(pd.concat(groups)).assign(runs="equal", time="epoch"))
    columns = ["runs", "time", "quantity", "phase", "spread", "error", "noise", "curves", "seeds", "start", "end"]
    return pd.concat(spreads, ignore_index=True).reindex(columns=columns)


def scaling_group(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return the scaling variable of each row, with values that differ only by rounding made equal.

    Args:
        rows: A table with the column scaling.
    """
    representatives: dict[float, float] = {}
    group = -np.inf
    for value in sorted(rows["scaling"].unique()):
        group = group if value <= group * (1 + EQUAL_WITHIN) else value
        representatives[value] = group
    return rows["scaling"].map(representatives)


def spread_in_time(rows: pd.DataFrame, time: str, quantity: str) -> pd.DataFrame:
    """Compute the spread between configurations as a function of time, at times that all curves have.

    Args:
        rows: Result of `layer_rows`.
        time: One of `TIMES`.
        quantity: One of `QUANTITIES`.

    Returns:
        Columns time; spread, the standard deviation between configurations divided by their mean, averaged over
        seeds; mean, the mean of J² over configurations and seeds. No rows if there is only one configuration or if
        the curves have no time in common.
    """
    grid, values, J2 = _common_curves(rows, time, quantity)
    return pd.DataFrame({"time": grid, "spread": _relative(values, 0).mean(axis=0), "mean": J2.mean(axis=(0, 1))})


def _spreads(rows: pd.DataFrame, time: str) -> pd.DataFrame:
    spreads = []
    for quantity in (*QUANTITIES, GROWTH):
        grid, values, J2 = _common_curves(rows, time, "J2" if quantity == GROWTH else quantity)
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
    """Return spread, error and noise, as defined in `collapse`, of values of shape (configuration, seed, time)."""
    between = np.sqrt((_relative(values, 0) ** 2).mean(axis=-1))  # shape (seed,)
    several = values.shape[1] > 1
    return {
        "spread": float(between.mean()),
        "error": float(sem(between)) if several else np.nan,
        "noise": float(np.sqrt((_relative(values, 1) ** 2).mean())) if several else np.nan,
    }


def _relative(values: Array, axis: int) -> Array:
    """Return the standard deviation along an axis divided by the absolute mean along that axis."""
    return values.std(axis=axis, ddof=1) / np.abs(values.mean(axis=axis))


def _common_curves(rows: pd.DataFrame, time: str, quantity: str) -> tuple[Array, Array, Array]:
    """Interpolate a quantity and J² at times that all curves have.

    Returns:
        The times, shape (time,); the quantity and J², each of shape (configuration, seed, time). The number of times
        is 0 if there is only one configuration, or if configurations share no seed or no time.
    """
    seeds = [set(group["seed"]) for _, group in rows.groupby("configuration")]
    shared = sorted(set.intersection(*seeds)) if len(seeds) > 1 else []
    grid = _shared_times(rows, time, quantity) if shared else np.array([])
    if not len(grid):
        return grid, np.empty((2, 1, 0)), np.empty((2, 1, 0))
    values, J2 = (_values(rows, time, name, grid, shared) for name in (quantity, "J2"))
    return grid, values, J2


def _shared_times(rows: pd.DataFrame, time: str, quantity: str) -> Array:
    """Return `POINTS` times within the interval that all runs cover after initialization; empty if there is none."""
    later = rows[(rows["epoch"] > 0) & rows[quantity].notna()] if quantity in rows else rows[:0]
    ends = later.groupby("directory")[time].agg(["min", "max"])
    if len(ends) < rows["directory"].nunique():
        return np.array([])
    start, end = ends["min"].max(), ends["max"].min()
    return np.linspace(start, end, POINTS) if start < end else np.array([])


def _values(rows: pd.DataFrame, time: str, quantity: str, grid: Array, seeds: Sequence[int]) -> Array:
    """Interpolate a quantity linearly at the times `grid`.

    Returns:
        Shape (configuration, seed, time); NaN for a run without measurements.
    """
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
    """Average spreads over the groups of equal scaling variable, as root mean square; errors add up in quadrature."""
    rows = []
    for (quantity, phase), group in spreads.groupby(["quantity", "phase"], sort=False):
        spread = float(np.sqrt((group["spread"] ** 2).mean()))
        error = float(np.sqrt(((group["spread"] * group["error"]) ** 2).sum()) / len(group) / max(spread, 1e-300))
        sizes = {"curves": group["curves"].sum(), "seeds": group["seeds"].min(), "start": np.nan, "end": np.nan}
        noise = float(np.sqrt((group["noise"] ** 2).mean()))
        rows.append({"quantity": quantity, "phase": phase, "spread": spread, "error": error, "noise": noise, **sizes})
    return pd.DataFrame(rows)
