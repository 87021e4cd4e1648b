"""The phase of one layer through the runs of a sweep: its rows, their means over seeds, and the points that matter."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def watched(table: pd.DataFrame, layer: int | None = None) -> pd.DataFrame:
    """The measurements of one layer of each run with a finite J, in the order of training.

    Args:
        table: Of `sweep_curves`, kind phase.
        layer: Its number; None: the first square layer of a run, or else its first one.

    Returns:
        Rows of the table, with scaling NaN for a run in which it was not one number, and rescaled: epoch × scaling.

    Raises:
        ValueError: no run has the layer, or the table has no measurements.
    """
    rows = table[np.isfinite(table["J"].astype(float))] if "J" in table else table[:0]
    if rows.empty:
        raise ValueError("table: holds no phase of a layer, which callbacks=phase records")
    if layer is None:
        square = rows["layer"].where(rows["fan_in"] == rows["fan_out"])
        first, square_first = (layers.groupby(rows["directory"]).transform("min") for layers in (rows["layer"], square))
        rows = rows[rows["layer"] == square_first.fillna(first)]
    elif layer in set(rows["layer"]):
        rows = rows[rows["layer"] == layer]
    else:
        raise ValueError(f"layer = {layer}: no run has it; there are {', '.join(map(str, rows['layer'].unique()))}")
    rows = rows.sort_values("step", kind="stable").drop_duplicates(["directory", "step"], keep="last")
    scaling = rows["scaling"].groupby(rows["directory"])
    known = scaling.transform("first").where(scaling.transform("nunique") == 1)
    return rows.assign(scaling=known, rescaled=rows["epoch"] * known)


def with_scaling(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs with a known eta / ((1 − alpha) B). Raises ValueError where there are none."""
    known = rows[rows["scaling"].notna()]
    if known.empty:
        raise ValueError("table: no run has a scaling variable, eta / ((1 − alpha) B) of SGD at one rate")
    return known


def run_counts(rows: pd.DataFrame) -> "pd.Series[int]":
    """How many runs each configuration has."""
    return rows.groupby("configuration")["directory"].nunique()


def mean_curves(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The mean of columns over the runs of a configuration, for each step that all of them have reached.

    Args:
        rows: Of `watched`.
        columns: Means of which are taken.

    Returns:
        The columns; X_error, the standard error of the mean of X, NaN for one run; runs; and the other columns of the
        configuration's first run.
    """
    rows = rows.assign(**{column: np.nan for column in columns if column not in rows})
    groups = rows.groupby(["configuration", "step"], sort=False)
    means = groups[list(columns)].mean()
    errors = groups[list(columns)].sem().add_suffix("_error")
    curves = pd.concat([means, errors, groups.size().rename("runs")], axis=1).reset_index()
    curves = curves[curves["runs"] == curves["configuration"].map(run_counts(rows))]
    facts = rows.drop_duplicates(["configuration", "step"]).drop(columns=[*columns, "runs"], errors="ignore")
    return curves.merge(facts, on=["configuration", "step"]).reset_index(drop=True)


def lowest_and_last(run: pd.DataFrame) -> dict[str, Any]:
    """The end and the lowest test loss of one run.

    Args:
        run: Its rows of `watched`.

    Returns:
        final_J2; final_loss and final_accuracy, of its last test; lowest_epoch, lowest_loss and lowest_J, where the
        test loss was lowest; NaN where it was not tested.
    """
    names = ("final_loss", "final_accuracy", "lowest_epoch", "lowest_loss", "lowest_J")
    tested = run[np.isfinite(run["test/loss"].astype(float))] if "test/loss" in run else run[:0]
    final_J2 = {"final_J2": float(run["J2"].iloc[-1])}
    if tested.empty:
        return final_J2 | dict.fromkeys(names, np.nan)
    lowest, last = tested.iloc[int(tested["test/loss"].to_numpy(float).argmin())], tested.iloc[-1]
    values = (last["test/loss"], last["test/accuracy"], lowest["epoch"], lowest["test/loss"], lowest["J"])
    return final_J2 | dict(zip(names, map(float, values), strict=True))


def lowest_losses(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each run of `watched` with the column option: option, its epochs, and `lowest_and_last`."""
    runs = [run for _, run in rows.groupby("directory", sort=False)]
    return pd.DataFrame(
        [{"option": run["option"].iloc[0], "epochs": run["epoch"].iloc[-1], **lowest_and_last(run)} for run in runs]
    )
