"""Runs laid over each other in epochs and in rescaled time: where the scaling law holds, and where it breaks."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from start_training.analysis.collapse import GROWTH, QUANTITIES, TIMES, collapse, scaling_group, spread_in_time
from start_training.analysis.phase_curves import mean_curves, watched, with_scaling
from start_training.figures.colours import CYCLE, colours
from start_training.figures.phase_slope import seeds_in_words
from start_training.order_chaos.weight_decay_guideline import crossing

TABLE = "phase"  # of `start_training.analysis.sweep_curves.sweep_curves`, which the figure is drawn from
LABELS = {"epoch": "epochs", "rescaled": r"rescaled time, epochs × $\eta/((1-\alpha)B)$"}
STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))  # of configurations with one scaling variable
COMPARED = {
    ("all", "epoch"): "at equal epochs",
    ("all", "rescaled"): "at equal rescaled time",
    ("equal", "epoch"): "between runs of one scaling variable",
}
EDGE: dict[str, Any] = {"marker": "o", "ms": 4, "mfc": "white", "mew": 1, "ls": "", "zorder": 4}


def draw_collapse(table: pd.DataFrame, *, layer: int | None = None, title: str = "") -> Figure:
    """J², test loss and test accuracy against epochs, above, and against rescaled time, epochs × eta/((1 − alpha) B).

    A curve for each configuration, mean over seeds with a band of ± one standard error; those of one scaling variable
    share a colour. Circles: J² = 1. On the right the spread between configurations: their standard deviation relative
    to their mean, averaged over seeds, at times that all curves have (`collapse`); shaded: the mean of J² is past 1.
    Beneath: the spread of J² before and after rescaling, in both phases.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437): the curves collapse as long as J < 1.
    Raises ValueError for a layer that the table does not have, or a table without phases or scaling variables.
    """
    rows = with_scaling(watched(table, layer))
    means = mean_curves(rows, ["J2", *list(QUANTITIES)[1:], "rescaled"])
    means = means.assign(group=scaling_group(means).map("{:.3g}".format))
    palette = colours(sorted(means["group"].unique(), key=float))
    figure = Figure(figsize=(13.2, 5.8), layout="constrained")
    panels = figure.subplots(2, 4)
    for line, time in zip(panels, TIMES, strict=True):
        for axes, quantity in zip(line, QUANTITIES, strict=False):
            _draw_curves(axes, means, time, quantity, palette)
        _draw_spreads(line[3], rows, time)
        for axes in line:
            axes.set_xlabel(LABELS[time])
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.spines[["top", "right"]].set_visible(False)
    figure.legend(handles=_legend(means, palette), loc="outside right upper", frameon=False, fontsize=8)
    text = textwrap.fill(_beneath(rows), int(16 * figure.get_figwidth()))
    figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")  # a legend on the right knows nothing of it
    return figure


def spread_in_words(spreads: pd.DataFrame, quantity: str = "J2") -> str:
    """Before and after rescaling, in the ordered phase and past the edge, from `collapse`."""
    of_quantity = spreads[spreads["quantity"] == quantity]
    parts = []
    for phase, words in (("ordered", "in the ordered phase"), ("past", "past the edge")):
        of_phase = of_quantity[of_quantity["phase"] == phase]
        found = {(row["runs"], row["time"]): row for _, row in of_phase.iterrows()}
        said = [f"{_percent(found[key])} {name}" for key, name in COMPARED.items() if key in found]
        parts += [f"{words} {', '.join(said)}"] if said else []
    return "; ".join(parts)


def _percent(row: "pd.Series[Any]") -> str:
    error = "" if np.isnan(row["error"]) else f" ± {100 * row['error']:.1f}"
    return f"{100 * row['spread']:.1f}{error}%"


def _draw_curves(axes: Axes, means: pd.DataFrame, time: str, quantity: str, palette: dict[str, Any]) -> None:
    for group, of_group in means.groupby("group", sort=False):
        curves = of_group.groupby("configuration", sort=False)
        for number, (_, curve) in enumerate(curves):
            known = curve[curve[quantity].notna()]
            colour, style = palette[str(group)], STYLES[number % len(STYLES)]
            x, y, error = (known[name].to_numpy(float) for name in (time, quantity, f"{quantity}_error"))
            axes.plot(x, y, ls=style, color=colour, lw=1.2)
            axes.fill_between(x, y - np.nan_to_num(error), y + np.nan_to_num(error), color=colour, alpha=0.2, lw=0)
            at = crossing(curve[time].to_numpy(float), curve["J2"].to_numpy(float))
            if np.isfinite(at) and len(x):
                axes.plot([at], [np.interp(at, x, y)], color=colour, **EDGE)
    if quantity == "J2":
        axes.axhline(1, color="0.5", lw=0.8, ls="--", zorder=0)
    if quantity == "test/accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, max(float(means[time].max()), 1e-9) * 1.03)
    axes.set_ylabel(QUANTITIES[quantity])


def _draw_spreads(axes: Axes, rows: pd.DataFrame, time: str) -> None:
    for (quantity, name), colour in zip(QUANTITIES.items(), CYCLE, strict=False):
        spread = spread_in_time(rows, time, quantity)
        axes.plot(spread["time"], spread["spread"], color=colour, lw=1.3, label=name)
        if quantity == "J2" and len(past := spread[spread["mean"] >= 1]):
            axes.axvspan(past["time"].iloc[0], past["time"].iloc[-1], color="0.92", lw=0, zorder=0)
    axes.set_ylim(bottom=0)
    shared = spread["time"] if len(spread) else rows[time]
    axes.set_xlim(0, max(float(shared.max()), 1e-9) * 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("sd between curves / mean")
    axes.legend(frameon=False, fontsize=7)


def _legend(means: pd.DataFrame, palette: dict[str, Any]) -> list[Line2D]:
    """Each configuration under its scaling variable."""
    handles = []
    for group, colour in palette.items():
        handles.append(Line2D([], [], ls="", label=rf"$\eta/((1-\alpha)B)$ = {group}"))
        settings = means[means["group"] == group].drop_duplicates("configuration")
        for number, (_, row) in enumerate(settings.iterrows()):
            text = rf"$\eta$ {row['eta']:g}, $\alpha$ {row['alpha']:g}, $B$ {row['batch']:g}"
            handles.append(Line2D([], [], color=colour, ls=STYLES[number % len(STYLES)], lw=1.2, label=text))
    handles.append(Line2D([], [], color="0.4", label="$J^2$ = 1", **EDGE))
    return handles


def _beneath(rows: pd.DataFrame) -> str:
    spreads = collapse(rows)
    said = seeds_in_words(rows)
    words, growth = spread_in_words(spreads), spread_in_words(spreads, GROWTH)
    if not words:
        return f"{said} No time is common to all curves, at which they could be compared."
    noise = spreads.loc[(spreads["quantity"] == "J2") & (spreads["runs"] == "all"), "noise"].max()
    seeds = f" Seeds of one configuration differ by up to {100 * noise:.1f}%." if np.isfinite(noise) else ""
    said += f" Spread of J² between configurations, root mean square over time: {words}.{seeds}"
    return f"{said} Of its growth: {growth}."
