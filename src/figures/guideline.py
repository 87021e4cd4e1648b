"""The weight-decay guideline on trial: J², test loss and test accuracy in the course of training, a colour a decay."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

PANELS = {"J2": "$J^2$", "test/loss": "test loss", "test/accuracy": "test accuracy"}
SETTLED = 0.1  # of the epochs, which the axes of loss and accuracy may leave out
ABOVE = 1.8  # of J², where the axis ends at the latest: without decay it goes on


def draw_guideline(curves: pd.DataFrame, predicted: pd.DataFrame, options: pd.DataFrame, *, title: str = "") -> Figure:
    """J², test loss and accuracy against epoch; a curve for each option, mean over seeds, band ± one standard error.

    curves: columns option, seed, epoch, J2, test/loss, test/accuracy. predicted: option, epoch, J2, drawn dashed.
    options: option, weight_decay, in the legend's order.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the figure of weight decays.
    """
    figure = Figure(figsize=(11.0, 3.4), layout="constrained")
    panels = dict(zip(PANELS, figure.subplots(1, 3), strict=True))
    colors = dict(zip(options["option"], colormaps["viridis"](_places(len(options))), strict=True))
    for column, axes in panels.items():
        for option, of_option in curves.groupby("option", sort=False):
            _draw_mean(axes, of_option.dropna(subset=[column]), column, colors[str(option)])
        axes.set_xlabel("epoch")
        axes.set_ylabel(PANELS[column])
        axes.set_xlim(0, curves["epoch"].max())
        axes.spines[["top", "right"]].set_visible(False)
    for option, of_option in predicted.groupby("option", sort=False):
        panels["J2"].plot(of_option["epoch"], of_option["J2"], color=colors[str(option)], lw=1, ls="--")
    _limit(panels, curves)
    figure.legend(handles=_handles(colors, options), loc="outside right upper", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def _places(count: int) -> list[float]:
    """On the colour map, whose end is too pale for a line."""
    return [0.9 * number / max(count - 1, 1) for number in range(count)]


def _draw_mean(axes: Axes, rows: pd.DataFrame, column: str, color: Any) -> None:
    """Over seeds, at those epochs that all of them reached: the mean of the survivors would flatter."""
    by_epoch = rows.groupby("epoch")[column].agg(["mean", "sem", "size"])
    by_epoch = by_epoch[by_epoch["size"] == rows["seed"].nunique()]
    axes.plot(by_epoch.index, by_epoch["mean"], color=color, lw=1.2)
    error = by_epoch["sem"].fillna(0.0)
    axes.fill_between(by_epoch.index, by_epoch["mean"] - error, by_epoch["mean"] + error, color=color, alpha=0.2, lw=0)


def _limit(panels: Mapping[str, Axes], curves: pd.DataFrame) -> None:
    """The axes of loss and accuracy fit what comes after the first epochs; that of J² shows where it settles."""
    panels["J2"].axhline(1, color="0.6", lw=0.8, zorder=0)
    panels["J2"].set_ylim(0, min(1.05 * curves["J2"].max(), ABOVE))
    late = curves[curves["epoch"] >= SETTLED * curves["epoch"].max()]
    for column in ("test/loss", "test/accuracy"):
        low, high = late[column].quantile(0.0), late[column].quantile(1.0)
        margin = 0.05 * (high - low)
        if margin > 0:
            panels[column].set_ylim(low - margin, high + margin)
    panels["test/accuracy"].yaxis.set_major_formatter(PercentFormatter(1.0))


def _handles(colors: Mapping[str, Any], options: pd.DataFrame) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colors[row["option"]], label=f"{row['option']} ({row['weight_decay']:.3g})")
        for _, row in options.iterrows()
    ]
    handles.append(Line2D([], [], color="0.4", lw=1, ls="--", label="$dJ^2/dt = A - r J^2$"))
    return [*handles, Line2D([], [], color="0.6", lw=0.8, label="edge of chaos")]
