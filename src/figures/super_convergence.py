"""Validation error against epochs of training, and the final test error, for different learning rate schedules."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from start_training.analysis.columns import check_column
from start_training.analysis.error_curves import TEST, best_of_shortest, epochs_until, error_curves, final_errors
from start_training.figures import draws
from start_training.figures.axes import draw_mean, finish, handle, panels, plain_ticks
from start_training.figures.labels import label, plus_minus, seeds_text

EPOCHS = [1, 2, 5, 10, 20, 50, 100, 200, 500]  # ticks of the axis of epochs


@draws("epochs")
def draw_super_convergence(table: pd.DataFrame, *, by: str | Sequence[str] = "schedule", title: str = "") -> Figure:
    """Draw the validation error after each epoch and the final test error of each configuration.

    Left: mean validation error over seeds ± one standard error, at epochs that all seeds have reached. Right: mean test
    error over seeds ± one standard error; faint: each seed. The caption says after how many epochs the other options
    reach the validation error of the best among the shortest runs.
    Source: Smith 2018 (arXiv:1803.09820), super-convergence on MNIST.

    Args:
        table: Result of `sweep_curves` with kind `epochs`.
        by: One or several columns; curves with equal values in them share a colour.
        title: Title above the panels.

    Raises:
        ValueError: the table lacks a column of `by`, or has no validation accuracy.
    """
    table = with_options(table, [by] if isinstance(by, str) else by)
    curves, ends = error_curves(table), final_errors(table)
    colors = {option: f"C{number}" for number, option in enumerate(dict.fromkeys(curves["option"]))}
    figure, [[left, right]] = panels(1, 2, size=(9.6, 4.2), width_ratios=[1.6, 1])
    for (option, _), curve in curves.groupby(["option", "configuration"], sort=False):
        draw_mean(left, curve["epochs"], curve["mean"], curve["error"], alpha=0.25, color=colors[option], lw=1.3)
        left.plot(curve["epochs"].iloc[-1:], curve["mean"].iloc[-1:], "o", color=colors[option], ms=5)
    left.set(xscale="log", yscale="log", xlabel="epochs", ylabel="validation error, %")
    for axis in (left.xaxis, left.yaxis):
        plain_ticks(axis, minor=True)
    left.xaxis.set_major_locator(FixedLocator([tick for tick in EPOCHS if tick <= curves["epochs"].max()]))
    _draw_ends(right, table, ends, colors)
    handles = [handle(option, color=color, lw=1.5) for option, color in colors.items()]
    handles.append(handle("last epoch", ls="", marker="o", ms=5, color="0.4"))
    left.legend(handles=handles, frameon=False, fontsize=8, loc="upper right")
    return finish(figure, title, caption=f"{seeds_text(curves['runs'])} {reached_text(curves)}")


def reached_text(curves: pd.DataFrame) -> str:
    """Describe how many epochs each curve needs to reach the validation error with which the best short run ends.

    The best short run is the curve of lowest final error among those with the fewest epochs.

    Args:
        curves: Result of `error_curves`.
    """
    best = best_of_shortest(curves)
    others = epochs_until(curves, best["mean"])
    others = others[others["configuration"] != best["configuration"]]
    when = others["reached"].map("after {:.0f} of".format).where(others["reached"].notna(), "not within")
    names = zip(others["option"], when, others["epochs"], strict=True)
    reached = [f"{option} {after} {_epochs_text(epochs)}" for option, after, epochs in names]
    final = f"{best['option']} has a validation error of {_percent(best)} after {_epochs_text(best['epochs'])}"
    return f"{final}. This error is reached by {'; '.join(reached)}." if reached else f"{final}."


def with_options(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Add a column option, which names the curve of each row.

    Args:
        table: Result of `sweep_curves` with kind `epochs`.
        by: Columns whose values distinguish the curves; their labels form the option.

    Raises:
        ValueError: the table lacks one of these columns.
    """
    for column in by:
        check_column("by", column, table)
    words = [table[column].map(lambda value, name=column: _word(name, value)) for column in by]
    return table.assign(option=[", ".join(values) for values in zip(*words, strict=True)])


def _word(column: str, value: Any) -> str:
    return label(value) if isinstance(value, str) else f"{column.rpartition('.')[2]} {label(value)}"


def _epochs_text(epochs: int) -> str:
    return f"{epochs} epoch{'s' if epochs > 1 else ''}"


def _percent(row: "pd.Series[Any]") -> str:
    return f"{plus_minus(row['mean'], row['error'], '.2f', '.2f')}%"


def _draw_ends(axes: Axes, table: pd.DataFrame, ends: pd.DataFrame, colors: Mapping[str, str]) -> None:
    ends = ends.sort_values(["epochs", "mean"], ignore_index=True)
    for height, (_, end) in zip(-np.arange(len(ends)), ends.iterrows(), strict=True):
        color = colors[end["option"]]
        accuracies = table.loc[(table["configuration"] == end["configuration"]) & table[TEST].notna(), TEST]
        axes.plot(100 * (1 - accuracies), [height] * len(accuracies), "o", color=color, ms=3, alpha=0.35, mew=0)
        axes.errorbar(end["mean"], height, xerr=end["error"], fmt="o", ms=5, color=color, capsize=2)
        text = _percent(end) + (f" ({end['runs']} runs)" if end["runs"] < ends["runs"].max() else "")
        axes.annotate(text, (1.03, height), xycoords=("axes fraction", "data"), fontsize=8, va="center")
    names = [f"{end['option']}, {_epochs_text(end['epochs'])}" for _, end in ends.iterrows()]
    axes.set_yticks(-np.arange(len(ends)), names)
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.set(xlabel="test error after the last epoch, %", xscale="log")
    plain_ticks(axes.xaxis, minor=True)
    axes.margins(y=0.08)
    axes.spines["left"].set_visible(False)
