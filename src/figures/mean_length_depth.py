"""Mean length of the last layer against depth: figures 1a and 2a of Hanin & Rolnick 2018 (arXiv:1803.01719)."""

from collections.abc import Hashable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, StrMethodFormatter

from start_training.figures.labels import label

MARKERS = "osD^vP*X<>"
CAPTION = "Means over nets: from layer ratios, or of lengths where biases or skips make ratios depend on each other."
TICKS = [0, 0.5, 1, 2, 5, 10, 20, 50, 100]  # nats, where the axis is linear only up to 1


def draw_mean_length_against_depth(
    table: pd.DataFrame,
    *,
    by: str = "initializer",
    panel: str | None = None,
    compressed: bool = False,
    title: str = "",
) -> Figure:
    """log(E[M_d] / M_0) against depth d, from the table of a sweep over `depth` and the setting `by`.

    Points: estimates over nets with one standard error; dashed: theory, for residual nets the wide limit; solid, for
    these: the exact law of Gaussian weights; dotted: Σ eta_l. A panel for each value of the setting `panel`.
    compressed: logarithmic beyond one nat.
    """
    options = {option: number for number, option in enumerate(table[by].unique())}
    ends = table[table["layer"] == table["depth"]].sort_values("depth", kind="stable")
    panels: list[tuple[Hashable, pd.DataFrame]] = list(ends.groupby(panel, sort=False)) if panel else [("", ends)]
    figure = Figure(figsize=(4.2 * len(panels) + 1.8, 4.2), layout="constrained")
    every = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (value, rows) in zip(every, panels, strict=True):
        for option, curve in rows.groupby(by, sort=False):
            _draw_curve(axes, curve, options[option])
        _decorate(axes, f"{panel.rpartition('.')[2]} {value}" if panel else title, compressed)
    every[0].set_ylabel(r"$\log\,(\mathbb{E}[M_d]\,/\,M_0)$, nats")
    figure.legend(handles=_legend(ends, options), loc="outside right upper", frameon=False, fontsize=8)
    figure.supxlabel(CAPTION, fontsize=7, x=0.01, ha="left")
    if panel:
        figure.suptitle(title, fontsize=10)
    return figure


def _draw_curve(axes: Axes, curve: pd.DataFrame, number: int) -> None:
    depth, color = curve["depth"], f"C{number}"
    if "sum_of_scales" in curve:
        axes.plot(depth, curve["sum_of_scales"], ":", color=color, lw=1)
        if "log_mean_law" in curve:
            axes.plot(depth, curve["log_mean_law"], "-", color=color, lw=0.8, alpha=0.6)
    if "log_mean_theory" in curve:
        axes.plot(depth, curve["log_mean_theory"], "--", color=color, lw=1.2)
    marker, errors = MARKERS[number % len(MARKERS)], curve["log_mean_error"]
    axes.errorbar(
        depth, curve["log_mean"], yerr=errors, fmt=marker, ms=4.5, mfc="none", color=color, elinewidth=1, capsize=2
    )


def _decorate(axes: Axes, title: str, compressed: bool) -> None:
    if compressed:
        axes.set_yscale("symlog", linthresh=1)
        axes.yaxis.set_major_locator(FixedLocator(TICKS))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("depth $d$")
    axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=9)


def _legend(rows: pd.DataFrame, options: dict[Hashable, int]) -> list[Line2D]:
    handles = [
        Line2D(
            [], [], marker=MARKERS[number % len(MARKERS)], ls="", mfc="none", color=f"C{number}", label=label(option)
        )
        for option, number in options.items()
    ]
    nets, residual = ", ".join(f"{nets:,}" for nets in sorted(rows["nets"].unique())), "sum_of_scales" in rows
    handles.append(Line2D([], [], marker="o", ls="", mfc="none", color="0.4", label=f"mean of {nets} nets, ± s.e."))
    handles.append(Line2D([], [], ls="--", color="0.4", label="theory, wide limit" if residual else "theory"))
    if residual:
        handles.append(Line2D([], [], ls="-", lw=0.8, color="0.4", label="exact law, sampled"))
        handles.append(Line2D([], [], ls=":", color="0.4", label=r"$\sum_l \eta_l$"))
    return handles
