"""Measurements of one layer's phase in the runs of a sweep: selection, means over seeds, lowest and last test loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def layer_rows(table: pd.DataFrame, layer: int | None = None) -> pd.DataFrame:
    """Select the measurements of one layer in each run, sorted by training step.

    Args:
        table: Result of `sweep_curves` with kind `phase`.
        layer: Number of the layer; None selects the first square layer of each run, or its first layer if no layer is
            square.

    Returns:
        The rows of that layer with a finite J. The column scaling is NaN for a run whose scaling variable changed
        during training; the additional column rescaled is epoch × scaling.

    Raises:
        ValueError: no run has this layer, or the table has no finite J.
    """
    rows = table[np.isfinite(table["J"].astype(float))] if "J" in table else table[:0]
    if rows.empty:
        raise ValueError("table: no run has recorded the phase of a layer; train with callbacks=phase")
    if layer is None:
        square = rows["layer"].where(rows["fan_in"] == rows["fan_out"])
        first, square_first = (layers.groupby(rows["directory"]).transform("min") for layers in (rows["layer"], square))
        rows = rows[rows["layer"] == square_first.fillna(first)]
    elif layer in set(rows["layer"]):
        rows = rows[rows["layer"] == layer]
    else:
        layers = ", ".join(map(str, rows["layer"].unique()))
        raise ValueError(f"layer = {layer}: no run has this layer; choose one of {layers}")
    rows = rows.sort_values("step", kind="stable").drop_duplicates(["directory", "step"], keep="last")
    scaling = rows["scaling"].groupby(rows["directory"])
    known = scaling.transform("first").where(scaling.transform("nunique") == 1)
    return rows.assign(scaling=known, rescaled=rows["epoch"] * known)


def with_scaling(rows: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of runs whose scaling variable eta / ((1 − alpha) B) is known.

    Args:
        rows: Result of `layer_rows`.

    Raises:
        ValueError: there are no such rows.
    """
    known = rows[rows["scaling"].notna()]
    if known.empty:
        raise ValueError(
            "table: no run has a scaling variable eta / ((1 − alpha) B); train with SGD at a constant learning rate"
        )
    return known


def run_counts(rows: pd.DataFrame) -> "pd.Series[int]":
    """Return the number of runs of each configuration; the index of the series is the configuration."""
    return rows.groupby("configuration")["directory"].nunique()


def mean_curves(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Average columns over the runs of each configuration, at each step that all of its runs have reached.

    Args:
        rows: Result of `layer_rows`.
        columns: Columns to average; a column that is missing counts as NaN.

    Returns:
        One row for each configuration and step: the means under the names of the columns; for each column X its
        standard error X_error (NaN for one run); runs, the number of runs; and all other columns, taken from the first
        run of the configuration.
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
    """Return the last values of one run, and those at its lowest test loss.

    Args:
        run: The rows of one run in the result of `layer_rows`.

    Returns:
        final_J2, the last J²; final_loss and final_accuracy of the last test; lowest_epoch, lowest_loss and lowest_J
        at the lowest test loss. All but final_J2 are NaN if the run has no finite test loss.
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
    """Apply `lowest_and_last` to each run.

    Args:
        rows: Result of `layer_rows`, with a column option that names the curve of each run.

    Returns:
        One row for each run. Columns option; epochs, the last epoch measured; and those of `lowest_and_last`.
    """
    runs = [run for _, run in rows.groupby("directory", sort=False)]
    return pd.DataFrame(
        [{"option": run["option"].iloc[0], "epochs": run["epoch"].iloc[-1], **lowest_and_last(run)} for run in runs]
    )
