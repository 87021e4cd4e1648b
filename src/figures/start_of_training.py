"""The epoch at which training starts, against depth, beta or another number.

Source: figures 1b, 2b and 3 of Hanin & Rolnick 2018 (arXiv:1803.01719).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, MaxNLocator, StrMethodFormatter

from start_training.analysis.start_points import curve_of, start_points
from start_training.analysis.start_relation import relation_text
from start_training.figures.axes import curve_style, draw_points, finish, handle, offset_transform, panels
from start_training.figures.labels import label, range_text

AXES = {
    "depth": "depth $d$ (layers, or residual modules)",
    "beta": r"$\beta=\sum_j 1/n_j$",
    "log_growth": r"depth × |log growth rate|, nats",
}
TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]  # epochs, for a logarithmic axis
LANE = 6.5  # vertical distance, in points, between curves in the band of configurations that never started
ARROW: dict[str, Any] = {
    "marker": Path([(0, -0.5), (0, 0.5), (-0.25, 0.15), (0, 0.5), (0.25, 0.15)], [1, 2, 1, 2, 2]),
    "ms": 9,
    "ls": "",
    "mfc": "none",
}
POINT: dict[str, Any] = {"ms": 4.5, "ls": ""}


def draw_start_of_training(
    table: pd.DataFrame,
    *,
    by: str | None = None,
    x: str | Sequence[str] = "depth",
    relation: str | None = None,
    logarithmic: bool = False,
    title: str = "",
) -> Figure:
    """Draw the epoch at which training starts, with a panel for each column of `x` and a curve for each value of `by`.

    Points are means over the seeds of a configuration ± one standard error. Filled: training started with all seeds.
    Open, with an arrow: with some seeds it did not start; these count with the maximum number of epochs, so that the
    mean is a lower bound. In the band at the top: it started with no seed.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719).

    Args:
        table: Result of `sweep_table`.
        by: Column whose values distinguish the curves; None draws a single curve.
        x: One or several columns of numbers for the horizontal axes.
        relation: `growth` or `beta`, a relation of start epochs that is written in the caption (`relation_text`).
        logarithmic: Whether the axis of epochs is logarithmic.
        title: Title above the panels.

    Raises:
        ValueError: the table lacks a column of `by` or `x`, no run with a known start has a number in `x`, or there is
            no such relation.
    """
    columns = [x] if isinstance(x, str) else list(x)
    points = [start_points(table, by=by, x=column) for column in columns]
    options = {option: number for number, option in enumerate(dict.fromkeys(curve_of(table, by)))}
    # Curves with a configuration in which no run started get a lane each in the band at the top of their panel.
    without = [set(panel.loc[panel["started"] == 0, "by"]) for panel in points]
    never = [[option for option in options if option in names] for names in without]
    figure, [all_axes] = panels(1, len(columns), size=(4.2 * len(columns) + 1.8, 4.2), sharey=True)
    for axes, column, panel, lanes in zip(all_axes, columns, points, never, strict=True):
        for option, curve in panel.groupby("by", sort=False):
            lane = lanes.index(option) + 1 if option in lanes else 0
            _draw_curve(axes, curve.sort_values("x"), curve_style(options[option]), lane)
        axes.set_xlabel(AXES.get(column, column))
    _epoch_axis(all_axes, pd.concat(points), logarithmic, max(map(len, never)))
    all_axes[0].set_ylabel(_quantity(table))
    caption = "" if relation is None else relation_text(table, relation)
    return finish(figure, title, _handles(points[0], options if by is not None else {}), caption=caption)


def note_on_band(axes: Axes, text: str, top: float) -> None:
    """Write what a band shows into its upper left corner; `top` is its upper end as a share of the axes' height."""
    axes.annotate(text, (0.01, top), (0, -2), "axes fraction", "offset points", fontsize=7, color="0.4", va="top")


def _draw_curve(axes: Axes, curve: pd.DataFrame, style: Mapping[str, Any], lane: int) -> None:
    color, marked = style["color"], {**POINT, **style, "zorder": 3}
    axes.plot(curve["x"], curve["mean"], "-", color=color, lw=0.8, alpha=0.6)
    started = curve[curve["started"] > 0]
    draw_points(axes, started["x"], started["mean"], started["error"], fmt="none", color=color)
    complete = started[started["started"] == started["runs"]]
    bounds = started[started["started"] < started["runs"]]
    axes.plot(complete["x"], complete["mean"], **marked)
    axes.plot(bounds["x"], bounds["mean"], **marked, mfc="white")
    axes.plot(bounds["x"], bounds["mean"], color=color, **ARROW, transform=offset_transform(axes, 4, 5))
    never = curve[curve["started"] == 0]
    axes.plot(never["x"], never["mean"], **marked, mfc="white", transform=offset_transform(axes, 0, lane * LANE))


def _epoch_axis(all_axes: Sequence[Axes], points: pd.DataFrame, logarithmic: bool, lanes: int) -> None:
    """Set limits and ticks of the axis of epochs, with a band at the top if a configuration never started."""
    top = float(points["maximum"].max())
    if not lanes:
        top = min(top, 1.1 * float((points["mean"] + points["error"].fillna(0)).max()))
    share = (lanes + 2.5) * LANE / 250 if lanes else 0.02  # the axis is about 250 points high
    low = 0.8 * float(points["mean"].min()) if logarithmic else 0.0
    end = top * (top / low) ** (share / (1 - share)) if logarithmic else top / (1 - share)
    ticks = TICKS if logarithmic else MaxNLocator(6).tick_values(0, top)
    for axes in all_axes:
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_minor_locator(FixedLocator([]))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= top]))
        axes.set_ylim(low, end)
        if lanes:
            axes.axhspan(top, end, color="0.94", lw=0, zorder=0)
            axes.axhline(top, color="0.6", lw=0.6, zorder=0)
            note_on_band(axes, f"training did not start within {top:g} epochs", 1)


def _quantity(table: pd.DataFrame) -> str:
    metrics, thresholds = table["start_metric"].dropna().unique(), table["start_threshold"].dropna().unique()
    if len(metrics) != 1 or len(thresholds) != 1:
        return "epochs until training starts"
    return f"epochs until {thresholds[0]:.0%} {str(metrics[0]).replace('/', ' ')}"


def _handles(points: pd.DataFrame, options: Mapping[str, int]) -> list[Line2D]:
    drawn = set(points["by"])
    handles = [handle(label(name), **POINT, **curve_style(number)) for name, number in options.items() if name in drawn]
    handles.append(
        handle(f"mean of {range_text(points['runs'])} seeds ± standard error", marker="o", color="0.4", **POINT)
    )
    if ((points["started"] < points["runs"]) & (points["started"] > 0)).any():
        handles.append(handle("lower bound: some seeds never started", color="0.4", **ARROW))
    return handles
