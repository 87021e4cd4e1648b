"""The phase of one layer through the runs of a sweep: its rows, their means over seeds, and the points that matter."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def watched(table: pd.DataFrame, layer: int | None = None) -> pd.DataFrame:
    """The rows of one layer of each run: of its first square one, or else its first; in the order of training.

    Of a table of phases (`sweep_curves`), the measurements with a finite J. scaling: NaN for a run in which it was
    not one number; rescaled: epoch × scaling.
    Raises ValueError for a layer that no run has, and for a table without measurements.
    """
    rows = table[np.isfinite(table["J"].astype(float))] if "J" in table else table[:0]
    if rows.empty:
        raise ValueError("table: holds no phase of a layer, which callbacks=phase records")
    if layer is None:
        square = rows["layer"].where(rows["fan_in"] == rows["fan_out"])
        first, square_first = (each.groupby(rows["directory"]).transform("min") for each in (rows["layer"], square))
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
    """The rows of the runs whose eta / ((1 − alpha) B) is known. Raises ValueError where it is of none."""
    known = rows[rows["scaling"].notna()]
    if known.empty:
        raise ValueError("table: no run has a scaling variable, eta / ((1 − alpha) B) of SGD at one rate")
    return known


def run_counts(rows: pd.DataFrame) -> "pd.Series[int]":
    """How many runs each configuration has."""
    return rows.groupby("configuration")["directory"].nunique()


def mean_curves(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A row for each configuration and step that all its runs have come to: the mean of each column, and its error.

    rows: of `watched`. X_error: the standard error of the mean of X over runs, NaN for one run; runs. The facts of a
    configuration are those of its first run.
    """
    rows = rows.assign(**{column: np.nan for column in columns if column not in rows})
    groups = rows.groupby(["configuration", "step"], sort=False)
    means = groups[list(columns)].mean()
    errors = groups[list(columns)].sem().add_suffix("_error")
    found = pd.concat([means, errors, groups.size().rename("runs")], axis=1).reset_index()
    found = found[found["runs"] == found["configuration"].map(run_counts(rows))]
    facts = rows.drop_duplicates(["configuration", "step"]).drop(columns=[*columns, "runs"], errors="ignore")
    return found.merge(facts, on=["configuration", "step"]).reset_index(drop=True)


def lowest_and_last(run: pd.DataFrame) -> dict[str, Any]:
    """Of one run in order: final_J2; final_loss and final_accuracy, of its last test.

    lowest_epoch, lowest_loss, lowest_J: where the test loss was lowest. NaN where it was not tested.
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
