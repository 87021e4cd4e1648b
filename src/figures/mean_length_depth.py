"""Mean length of the last layer against depth: figures 1a and 2a of Hanin & Rolnick 2018 (arXiv:1803.01719)."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, StrMethodFormatter

from start_training.figures.axes import curve_style, draw_points, finish, handle, panels
from start_training.figures.labels import label

CAPTION = (
    "Means over nets are products of mean ratios of lengths of successive layers; with biases or skip connections, "
    "whose ratios are not independent, they are means of the lengths."
)
TICKS = [0, 0.5, 1, 2, 5, 10, 20, 50, 100]  # nats, of an axis that is linear up to 1 and logarithmic beyond
Styles = dict[Hashable, dict[str, Any]]


def draw_mean_length_against_depth(
    table: pd.DataFrame,
    *,
    by: str = "initializer",
    panel: str | None = None,
    compressed: bool = False,
    title: str = "",
) -> Figure:
    """Draw log(E[M_d] / M_0) against depth d, from a sweep of simulations.

    Points: estimates over nets ± one standard error; dashed: theory, for residual nets in the limit of wide layers. For
    residual nets also, solid: the exact law of Gaussian weights, dotted: Σ eta_l.

    Args:
        table: Layer tables of a sweep of simulations over `depth` and other settings, as columns.
        by: Column whose values distinguish the curves.
        panel: Column whose values distinguish the panels; None draws one panel.
        compressed: Whether the vertical axis is logarithmic beyond one nat.
        title: Title above the panels.
    """
    ends, styles = last_layers(table, by)
    groups: list[tuple[Hashable, pd.DataFrame]] = list(ends.groupby(panel, sort=False)) if panel else [("", ends)]
    figure, [all_axes] = panels(1, len(groups), size=(4.2 * len(groups) + 1.8, 4.2), sharey=True)
    for axes, (value, rows) in zip(all_axes, groups, strict=True):
        for option, curve in rows.groupby(by, sort=False):
            _draw_curve(axes, curve, styles[option])
        if compressed:
            axes.set_yscale("symlog", linthresh=1)
            axes.yaxis.set_major_locator(FixedLocator(TICKS))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.axhline(0, color="0.8", lw=0.6, zorder=0)
        axes.set_xlabel("depth $d$")
        axes.set_title(f"{panel.rpartition('.')[2]} {value}" if panel else "", fontsize=9)
    all_axes[0].set_ylabel(r"$\log\,(\mathbb{E}[M_d]\,/\,M_0)$, nats")
    return finish(figure, title, _handles(ends, styles), caption=CAPTION)


def last_layers(table: pd.DataFrame, by: str) -> tuple[pd.DataFrame, Styles]:
    """Select the last layer of each net, and assign marker and colour to each value of a column.

    Args:
        table: Layer tables of a sweep of simulations, with the columns layer, depth and `by`.
        by: Column whose values distinguish the curves.

    Returns:
        The rows of last layers, sorted by depth; the matplotlib style of each value of `by`.
    """
    ends = table[table["layer"] == table["depth"]].sort_values("depth", kind="stable")
    return ends, {option: {**curve_style(number), "mfc": "none"} for number, option in enumerate(table[by].unique())}


def _draw_curve(axes: Axes, curve: pd.DataFrame, style: Mapping[str, Any]) -> None:
    depth, color = curve["depth"], style["color"]
    if "sum_of_scales" in curve:
        axes.plot(depth, curve["sum_of_scales"], ":", color=color, lw=1)
        if "log_mean_law" in curve:
            axes.plot(depth, curve["log_mean_law"], "-", color=color, lw=0.8, alpha=0.6)
    if "log_mean_theory" in curve:
        axes.plot(depth, curve["log_mean_theory"], "--", color=color, lw=1.2)
    draw_points(axes, depth, curve["log_mean"], curve["log_mean_error"], **style)


def _handles(rows: pd.DataFrame, styles: Styles) -> list[Line2D]:
    handles = [handle(label(option), ls="", **style) for option, style in styles.items()]
    nets, residual = ", ".join(f"{nets:,}" for nets in sorted(rows["nets"].unique())), "sum_of_scales" in rows
    handles.append(handle(f"mean of {nets} nets ± standard error", marker="o", ls="", mfc="none", color="0.4"))
    handles.append(handle("theory for wide layers" if residual else "theory", ls="--", color="0.4"))
    if residual:
        handles.append(handle("exact law, sampled", ls="-", lw=0.8, color="0.4"))
        handles.append(handle(r"$\sum_l \eta_l$", ls=":", color="0.4"))
    return handles
