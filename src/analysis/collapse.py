"""How well the curves of a sweep lie on each other, at equal epochs and at equal rescaled time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
QUANTITIES = {"J2": "$J^2$", "test/loss": "test loss", "test/accuracy": "test accuracy"}
GROWTH = "growth"
TIMES = ("epoch", "rescaled")
POINTS = 60  # in time, at which curves are compared
TOGETHER = 1e-6  # relative difference up to which scaling variables are equal


def collapse(rows: pd.DataFrame) -> pd.DataFrame:
    """The spread of curves between configurations: a row for each group of runs, time, quantity and phase.

    rows: of `watched`. runs: `all`, at each of `TIMES`, or `equal` scaling variables, at equal epochs, where the two
    times say the same. phase: `ordered`, where the mean curve of J² is below 1, or `past` the edge.
    spread: of each seed the root mean square, over the time in that phase, of the standard deviation between
    configurations relative to their mean; then the mean over seeds, and error, its standard error (NaN for one seed).
    The quantity growth is the rate at which J² grew, its mean over the time in that phase: the spread of A, and of the
    law's constant.
    noise: likewise between seeds of one configuration, NaN for one. curves, seeds; start, end: the time compared, in
    the unit of `time`; only times that all curves have, and seeds that all configurations have.
    No row where fewer than two configurations share some time; of `equal`, the root mean square over groups.
    """
    found = [_spreads(rows, time).assign(runs="all", time=time) for time in TIMES]
    groups = [_spreads(group, "epoch") for _, group in rows.groupby(scaling_group(rows))]
    if equal := [group for group in groups if len(group)]:
        found.append(_over_groups(pd.concat(equal)).assign(runs="equal", time="epoch"))
    columns = ["runs", "time", "quantity", "phase", "spread", "error", "noise", "curves", "seeds", "start", "end"]
    return pd.concat(found, ignore_index=True).reindex(columns=columns)


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

    Columns: time; spread, its mean over seeds; mean, the mean curve of J². Empty for one configuration, and where no
    time is shared.
    """
    seeds = _seeds(rows)
    grid = _shared_times(rows, time, quantity)
    if not seeds or not len(grid) or rows["configuration"].nunique() < 2:
        return pd.DataFrame(columns=["time", "spread", "mean"])
    values = _values(rows, time, quantity, grid, seeds)
    J2 = _values(rows, time, "J2", grid, seeds)
    return pd.DataFrame({"time": grid, "spread": _relative(values, 0).mean(axis=0), "mean": J2.mean(axis=(0, 1))})


def _spreads(rows: pd.DataFrame, time: str) -> pd.DataFrame:
    seeds = _seeds(rows)
    if not seeds or rows["configuration"].nunique() < 2:
        return pd.DataFrame()
    found = []
    for quantity in (*QUANTITIES, GROWTH):
        measured = "J2" if quantity == GROWTH else quantity
        if not len(grid := _shared_times(rows, time, measured)):
            continue
        values = _values(rows, time, measured, grid, seeds)
        ordered = _values(rows, time, "J2", grid, seeds).mean(axis=(0, 1)) < 1
        for phase, there in (("ordered", ordered), ("past", ~ordered)):
            if there.sum() > 1 and np.isfinite(values).all():
                within = values[:, :, there]
                within = within[..., -1:] - within[..., :1] if quantity == GROWTH else within
                times = {"start": grid[there][0], "end": grid[there][-1]}
                size = {"curves": len(values), "seeds": len(seeds), **times}
                found.append({"quantity": quantity, "phase": phase, **_spread(within), **size})
    return pd.DataFrame(found)


def _spread(values: Array) -> dict[str, float]:
    """Of shape (configuration, seed, time)."""
    between = np.sqrt((_relative(values, 0) ** 2).mean(axis=-1))  # of each seed
    seeds = values.shape[1]
    error = float(between.std(ddof=1) / np.sqrt(seeds)) if seeds > 1 else np.nan
    noise = float(np.sqrt((_relative(values, 1) ** 2).mean())) if seeds > 1 else np.nan
    return {"spread": float(between.mean()), "error": error, "noise": noise}


def _relative(values: Array, axis: int) -> Array:
    """Standard deviation along an axis over the mean along it."""
    return values.std(axis=axis, ddof=1) / np.abs(values.mean(axis=axis))


def _seeds(rows: pd.DataFrame) -> list[int]:
    """Those that every configuration has."""
    of_each = [set(group["seed"]) for _, group in rows.groupby("configuration")]
    return sorted(set.intersection(*of_each)) if of_each else []


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
    return np.array(
        [
            [_at(runs[runs["seed"] == seed], time, quantity, grid) for seed in seeds]
            for _, runs in rows.groupby("configuration", sort=False)
        ]
    )


def _at(run: pd.DataFrame, time: str, quantity: str, grid: Array) -> Array:
    known = run[run[quantity].notna()] if quantity in run else run[:0]
    if known.empty:
        return np.full(len(grid), np.nan)
    return np.interp(grid, known[time].to_numpy(float), known[quantity].to_numpy(float))


def _over_groups(spreads: pd.DataFrame) -> pd.DataFrame:
    """Root mean square over groups of equal scaling; their errors are independent."""
    found = []
    for (quantity, phase), each in spreads.groupby(["quantity", "phase"], sort=False):
        spread = float(np.sqrt((each["spread"] ** 2).mean()))
        error = float(np.sqrt(((each["spread"] * each["error"]) ** 2).sum()) / len(each) / max(spread, 1e-300))
        sizes = {"curves": each["curves"].sum(), "seeds": each["seeds"].min(), "start": np.nan, "end": np.nan}
        noise = float(np.sqrt((each["noise"] ** 2).mean()))
        found.append({"quantity": quantity, "phase": phase, "spread": spread, "error": error, "noise": noise, **sizes})
    return pd.DataFrame(found)
