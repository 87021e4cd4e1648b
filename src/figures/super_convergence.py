"""Error against epochs of training, and where it ends: how soon a schedule gets there."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, StrMethodFormatter

from start_training.figures.labels import label
from start_training.figures.start_of_training import check_column

TABLE = "epochs"  # of `start_training.analysis.sweep_curves.sweep_curves`, which the figure is drawn from
EPOCHS = [1, 2, 5, 10, 20, 50, 100, 200, 500]  # ticks
VALIDATION, TEST = "val/accuracy", "test/accuracy"


def draw_super_convergence(table: pd.DataFrame, *, by: str | Sequence[str] = "schedule", title: str = "") -> Figure:
    """Validation error after each epoch, a curve for each configuration, and the test error after its last one.

    Curves that agree in the columns `by` share a colour. Left: mean over seeds ± one standard error, where all seeds
    of a configuration have a value. Right: the same of the test error; faint: each seed. Beneath, from
    `epochs_to_reach`, who gets as low as the best of the shortest runs, and when.
    Source: Smith 2018 (arXiv:1803.09820), super-convergence on MNIST.
    Raises ValueError for a column that the table does not have, or a table without validation accuracies.
    """
    columns = [by] if isinstance(by, str) else list(by)
    curves, ends = error_curves(table, by=columns), final_errors(table, by=columns)
    options = {option: f"C{number}" for number, option in enumerate(dict.fromkeys(curves["option"]))}
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    for (option, _), curve in curves.groupby(["option", "configuration"], sort=False):
        _draw_curve(left, curve, options[option])
    _decorate(left, curves)
    _draw_ends(right, table, ends, options)
    handles = [Line2D([], [], color=color, lw=1.5, label=option) for option, color in options.items()]
    handles.append(Line2D([], [], ls="", marker="o", ms=5, color="0.4", label="last epoch"))
    left.legend(handles=handles, frameon=False, fontsize=8, loc="upper right")
    said = textwrap.fill(f"{_seeds(curves)} {epochs_to_reach(curves)}", int(17 * figure.get_figwidth()))
    figure.supxlabel(said, fontsize=7, x=0.01, ha="left")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def error_curves(table: pd.DataFrame, *, by: Sequence[str]) -> pd.DataFrame:
    """A row for each configuration and epoch: option, configuration, epochs, mean, error, runs; in percent.

    epochs: those behind it, from 1. error: of the mean, NaN for one run. Only epochs that all seeds have come to.
    """
    if VALIDATION not in table or table[VALIDATION].isna().all():
        raise ValueError("table: holds no validation accuracy; datamodule.validation must be above 0")
    validated = table[table[VALIDATION].notna()]
    runs = validated.groupby("configuration")["directory"].nunique()
    validated = validated.assign(option=option_of(validated, by), epochs=validated["epoch"].astype(int) + 1)
    groups = validated.groupby(["option", "configuration", "epochs"], sort=False)[VALIDATION]
    curves = _in_percent(groups).reset_index()
    return curves[curves["runs"] == curves["configuration"].map(runs)].reset_index(drop=True)


def final_errors(table: pd.DataFrame, *, by: Sequence[str]) -> pd.DataFrame:
    """A row for each configuration that has been tested, as `error_curves` has it after its last epoch."""
    tested = table[table[TEST].notna()] if TEST in table else table[:0].assign(**{TEST: np.nan})
    tested = tested.assign(option=option_of(tested, by))
    ends = _in_percent(tested.groupby(["option", "configuration"], sort=False)[TEST]).reset_index()
    return ends.assign(epochs=ends["configuration"].map(_epochs(table)))


def epochs_to_reach(curves: pd.DataFrame) -> str:
    """In a sentence, from `error_curves`: when the others are as low as the best of the shortest runs ends.

    Of each option its longest run counts, and the mean over seeds.
    """
    lasts = curves.loc[curves.groupby("configuration", sort=False)["epochs"].idxmax()]
    shortest = lasts[lasts["epochs"] == lasts["epochs"].min()]
    best = shortest.loc[shortest["mean"].idxmin()]
    longest = lasts.loc[lasts.groupby("option", sort=False)["epochs"].idxmax()]
    others = [
        _reached(curves, row, best) for _, row in longest.iterrows() if row["configuration"] != best["configuration"]
    ]
    ended = f"{best['option']} ends {_counted(best['epochs'])} with a validation error of {_percent(best)}"
    return f"{ended}. As low: {'; '.join(others)}." if others else f"{ended}."


def option_of(table: pd.DataFrame, by: Sequence[str]) -> "pd.Series[str]":
    """Of each row its values of the columns `by`, in words. Raises ValueError for a column that is not there."""
    for column in by:
        check_column("by", column, table)
    words = [table[column].map(lambda value, name=column: _word(name, value)) for column in by]
    return pd.Series([", ".join(each) for each in zip(*words, strict=True)], index=table.index, dtype=object)


def _word(column: str, value: Any) -> str:
    if pd.isna(value):
        return f"{column} default"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{column.rpartition('.')[2]} {value:g}" if number else label(value)


def _in_percent(groups: Any) -> pd.DataFrame:
    found = groups.agg(["mean", "sem", "size"]).set_axis(["mean", "error", "runs"], axis=1)
    return found.assign(mean=100 * (1 - found["mean"]), error=100 * found["error"])


def _epochs(table: pd.DataFrame) -> "pd.Series[int]":
    """Of each configuration, those behind its longest run."""
    return table[table[VALIDATION].notna()].groupby("configuration")["epoch"].max().astype(int) + 1


def _reached(curves: pd.DataFrame, last: "pd.Series[Any]", best: "pd.Series[Any]") -> str:
    curve = curves[curves["configuration"] == last["configuration"]]
    low = curve[curve["mean"] <= best["mean"]]
    when = f"after {low['epochs'].min()} of" if len(low) else "not within"
    return f"{last['option']} {when} {_counted(last['epochs'])}"


def _counted(epochs: int) -> str:
    return f"{epochs} epoch{'s' if epochs > 1 else ''}"


def _percent(row: "pd.Series[Any]") -> str:
    return f"{row['mean']:.2f}%" if np.isnan(row["error"]) else f"{row['mean']:.2f} ± {row['error']:.2f}%"


def _seeds(curves: pd.DataFrame) -> str:
    low, high = curves["runs"].min(), curves["runs"].max()
    count = f"{low}" if low == high else f"{low}–{high}"
    return "One run each." if count == "1" else f"Means of {count} seeds ± s.e."


def _draw_curve(axes: Axes, curve: pd.DataFrame, color: str) -> None:
    error = curve["error"].fillna(0)
    axes.plot(curve["epochs"], curve["mean"], "-", color=color, lw=1.3)
    axes.fill_between(curve["epochs"], curve["mean"] - error, curve["mean"] + error, color=color, alpha=0.25, lw=0)
    axes.plot(curve["epochs"].iloc[-1:], curve["mean"].iloc[-1:], "o", color=color, ms=5)


def _decorate(axes: Axes, curves: pd.DataFrame) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_ticks(axis)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in EPOCHS if tick <= curves["epochs"].max()]))
    axes.set_xlabel("epochs")
    axes.set_ylabel("validation error, %")
    axes.spines[["top", "right"]].set_visible(False)


def _plain_ticks(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw_ends(axes: Axes, table: pd.DataFrame, ends: pd.DataFrame, options: dict[str, str]) -> None:
    ends = ends.sort_values(["epochs", "mean"], ignore_index=True)
    for height, (_, end) in zip(-np.arange(len(ends)), ends.iterrows(), strict=True):
        color = options[end["option"]]
        each = table.loc[(table["configuration"] == end["configuration"]) & table[TEST].notna(), TEST]
        axes.plot(100 * (1 - each), [height] * len(each), "o", color=color, ms=3, alpha=0.35, mew=0)
        axes.errorbar(end["mean"], height, xerr=end["error"], fmt="o", ms=5, color=color, capsize=2)
        said = _percent(end) + (f" ({end['runs']} runs)" if end["runs"] < ends["runs"].max() else "")
        axes.annotate(said, (1.03, height), xycoords=("axes fraction", "data"), fontsize=8, va="center")
    names = [f"{end['option']}, {_counted(end['epochs'])}" for _, end in ends.iterrows()]
    axes.set_yticks(-np.arange(len(ends)), names)
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.set_xlabel("test error after the last epoch, %")
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.margins(y=0.08)
    axes.spines[["top", "right", "left"]].set_visible(False)
