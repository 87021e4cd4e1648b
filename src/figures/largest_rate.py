"""The largest usable learning rate, as range tests find it, against depth or any other number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation, Transform

from start_training.analysis.suggestions import suggestions
from start_training.figures.mean_length_depth import MARKERS
from start_training.figures.range_test import option_of
from start_training.figures.start_of_training import AXES, check_column
from start_training.settings import fraction

TABLE = "range_test"  # of `start_training.analysis.sweep_curves.sweep_curves`, which the figure is drawn from
BAND = 0.1  # of the height, for what found no rate
APART = 2.5  # points between the markers of neighbouring curves, which would hide each other


def draw_largest_rate(
    table: pd.DataFrame, *, by: str | None = None, x: str = "depth", threshold: float = 0.2, title: str = ""
) -> Figure:
    """max_lr against `x`, and beside it the highest validation accuracy of the same tests; a curve for each `by`.

    Points: median over seeds of one configuration, bars from the smallest to the largest; accuracy: mean ± standard
    error. Open where that stays below `threshold`, or a seed found no rate; in the band below where none did. The loss
    of a net that learns next to nothing has nowhere to turn up from, and its rate says little.
    Source: Smith 2018 (arXiv:1803.09820), the LR range test; Hanin & Rolnick 2018 (arXiv:1803.01719), whose nets have
    started to train at 20%.
    Raises ValueError for a column that the table does not have, or one of `x` that is no number.
    """
    fraction("threshold", threshold)
    points = rate_points(table, by=by, x=x)
    options = list(dict.fromkeys(points["option"]))
    figure = Figure(figsize=(10.2, 4.2), layout="constrained")
    rates, accuracies = figure.subplots(1, 2)
    for number, option in enumerate(options):
        curve = points[points["option"] == option].sort_values("x")
        learned = (curve["val_accuracy"] >= threshold) & (curve["usable"] == curve["tests"])
        style = {**_marker(number), "learned": learned, "aside": (number - (len(options) - 1) / 2) * APART}
        spread = [curve["max_lr"] - curve["max_lr_low"], curve["max_lr_high"] - curve["max_lr"]]
        _draw(rates, curve["x"], curve["max_lr"], np.clip(spread, 0, None), **style)  # the median of one is rounded
        _draw(accuracies, curve["x"], curve["val_accuracy"], curve["val_accuracy_error"].to_numpy(), **style)
        _draw_without(rates, curve["x"][curve["max_lr"].isna()], **style)
    _decorate(rates, accuracies, points, x, threshold)
    handles = _legend(points, options, threshold, named=by is not None or len(options) > 1)
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")  # a legend on the right knows nothing of it
    return figure


def rate_points(table: pd.DataFrame, *, by: str | None, x: str) -> pd.DataFrame:
    """`suggestions` for each configuration whose tests have ended, with the columns option, as `by` tells it, and x."""
    check_column("x", x, table, numeric=True)
    options = pd.Series("", index=table.index) if by is None else option_of(table, by)
    table = table.assign(option=options, x=table[x].astype(float))
    found = suggestions(table, by="configuration")
    if found.empty:
        raise ValueError(f"x = {x}: no range test has ended yet")
    return found.merge(table.groupby("configuration", sort=False)[["option", "x"]].first(), on="configuration")


def _draw(
    axes: Axes, x: pd.Series, y: pd.Series, spread: Any, *, learned: pd.Series, aside: float, marker: str, color: str
) -> None:
    place = _aside(axes, axes.transData, aside)
    axes.plot(x, y, "-", color=color, lw=0.8, alpha=0.6, transform=place)
    axes.errorbar(x, y, yerr=spread, fmt="none", color=color, elinewidth=1, capsize=2, transform=place)
    for rows, face in ((learned, color), (~learned, "white")):
        axes.plot(x[rows], y[rows], ls="", ms=4.5, marker=marker, color=color, mfc=face, transform=place, zorder=3)


def _draw_without(axes: Axes, x: pd.Series, *, aside: float, marker: str, color: str, **_: Any) -> None:
    """In the band below, those of which no test found a rate."""
    place = _aside(axes, axes.get_xaxis_transform(), aside)
    axes.plot(x, [BAND / 3] * len(x), ls="", ms=4.5, marker=marker, color=color, mfc="white", transform=place, zorder=3)


def _aside(axes: Axes, place: Transform, points: float) -> Transform:
    return place + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def _marker(number: int) -> dict[str, Any]:
    return {"marker": MARKERS[number % len(MARKERS)], "color": f"C{number % 10}"}


def _decorate(rates: Axes, accuracies: Axes, points: pd.DataFrame, name: str, threshold: float) -> None:
    x, margin = points["x"], 0.1 * (np.ptp(points["x"]) or 1)
    rates.set_yscale("log")
    rates.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    rates.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    rates.yaxis.set_minor_locator(NullLocator())
    _limits(rates, points)
    rates.set_ylabel("largest usable learning rate, max_lr")
    accuracies.set_ylabel("highest validation accuracy in the test")
    accuracies.set_ylim(0, 1.02)
    accuracies.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    accuracies.axhline(threshold, color="0.6", lw=0.6, zorder=0)
    for axes in (rates, accuracies):
        axes.set_xlabel(AXES.get(name, name))
        axes.set_xlim(x.min() - margin, x.max() + margin)  # what is moved aside counts for no limits
        axes.spines[["top", "right"]].set_visible(False)
        if x.nunique() <= 10:
            axes.set_xticks(sorted(x.unique()))


def _limits(rates: Axes, points: pd.DataFrame) -> None:
    """With a band below where a configuration found no rate."""
    low, high = points["max_lr_low"].min() / 1.5, points["max_lr_high"].max() * 1.5
    without = points["max_lr"].isna()
    low, high = (0.1, 1.0) if without.all() else (low, high)
    rates.set_ylim(low / (high / low) ** (BAND / (1 - BAND)) if without.any() else low, high)
    if without.any():
        rates.add_patch(Rectangle((0, 0), 1, BAND, transform=rates.transAxes, color="0.94", lw=0, zorder=0))
        text, corner = "no usable rate in the ramp", (0.01, BAND)
        rates.annotate(text, corner, (0, -2), "axes fraction", "offset points", fontsize=7, color="0.4", va="top")


def _legend(points: pd.DataFrame, options: Sequence[str], threshold: float, *, named: bool) -> list[Line2D]:
    handles = [
        Line2D([], [], ls="", ms=4.5, label=option, **_marker(number)) for number, option in enumerate(options) if named
    ]
    low, high = points["tests"].min(), points["tests"].max()
    tests = f"{high}" if low == high else f"{low}–{high}"
    handles.append(Line2D([], [], marker="o", ls="", ms=4.5, color="0.4", label=f"median of {tests} seeds, range"))
    if ((points["val_accuracy"] < threshold) | (points["usable"] < points["tests"])).any():
        text = f"below {threshold:.0%} accuracy,\nor a seed without a rate"
        handles.append(Line2D([], [], marker="o", ls="", ms=4.5, color="0.4", mfc="white", label=text))
    return handles
