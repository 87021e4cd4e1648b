"""The largest usable learning rate found by range tests, against depth or another number."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from start_training.analysis.suggestions import best_score, rate_points
from start_training.figures import draws
from start_training.figures.axes import curve_style, draw_points, finish, handle, offset_transform, panels, plain_ticks
from start_training.figures.labels import option_of, range_text
from start_training.figures.start_of_training import AXES, note_on_band
from start_training.settings import Fraction, checked
from start_training.tasks.merit import label_of

BAND = 0.1  # share of the height of the axes, at the bottom, for configurations without a usable rate
APART = 2.5  # horizontal offset, in points, between markers of neighbouring curves, so that they do not overlap
POINT: dict[str, Any] = {"ls": "", "ms": 4.5}


@draws("range_test")
@checked
def draw_largest_rate(
    table: pd.DataFrame, *, by: str | None = None, x: str = "depth", threshold: Fraction = 0.2, title: str = ""
) -> Figure:
    """Draw max_lr and the highest validation accuracy of range tests against `x`, with a curve for each value of `by`.

    Points are medians of max_lr over the seeds of a configuration, with bars from the smallest to the largest, and mean
    accuracies ± standard error. A point is open if the mean accuracy stays below `threshold` or a seed has no usable
    rate: the loss of a net that hardly learns cannot rise, so that its rate means little. Configurations without any
    usable rate are drawn in the band at the bottom.
    Source: Smith 2018 (arXiv:1803.09820), the LR range test; Hanin & Rolnick 2018 (arXiv:1803.01719), for the threshold
    of 20%.

    Args:
        table: Result of `sweep_curves` with kind `range_test`.
        by: Column whose values distinguish the curves; None draws a single curve.
        x: Column of numbers for the x axis.
        threshold: Accuracy from which a net counts as having started to train.
        title: Title above the panels.

    Raises:
        ValueError: the table has no column `by` or no numeric column `x`, no range test has ended, or `threshold` is
            not in [0, 1).
    """
    points = rate_points(table.assign(option=option_of(table, by) if by else ""), x=x)
    score = best_score(points)
    points = points.assign(learned=(points[score] >= threshold) & (points["usable"] == points["tests"]))
    curves = [curve.sort_values("x") for _, curve in points.groupby("option", sort=False)]
    figure, [[rates, accuracies]] = panels(1, 2, size=(10.2, 4.2))
    for number, curve in enumerate(curves):
        style = {**curve_style(number), "offset": (number - (len(curves) - 1) / 2) * APART}
        ends = [curve["max_lr"] - curve["max_lr_low"], curve["max_lr_high"] - curve["max_lr"]]
        _draw(rates, curve, "max_lr", np.clip(ends, 0, None), **style)  # rounding can make lengths of bars negative
        _draw(accuracies, curve, score, curve[f"{score}_error"].to_numpy(), **style)
        _draw_without_rate(rates, curve["x"][curve["max_lr"].isna()], **style)
    rates.set_yscale("log")
    plain_ticks(rates.yaxis)
    _set_rate_limits(rates, points)
    rates.set_ylabel("largest usable learning rate, max_lr")
    accuracies.set(ylabel=f"highest validation {label_of(score.removeprefix('val_'))} in the test", ylim=(0, 1.02))
    if score == "val_accuracy":
        accuracies.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    accuracies.axhline(threshold, color="0.6", lw=0.6, zorder=0)
    places, margin = sorted(points["x"].unique()), 0.1 * (np.ptp(points["x"]) or 1)
    for axes in (rates, accuracies):
        axes.set(xlabel=AXES.get(x, x), xlim=(places[0] - margin, places[-1] + margin))
        if len(places) <= 10:
            axes.set_xticks(places)
    names = list(points["option"].unique()) if by is not None else []
    return finish(figure, title, _handles(points, names, threshold))


def _draw(axes: Axes, curve: pd.DataFrame, y: str, error: Any, *, offset: float, marker: str, color: str) -> None:
    transform = offset_transform(axes, offset)
    axes.plot(curve["x"], curve[y], "-", color=color, lw=0.8, alpha=0.6, transform=transform)
    draw_points(axes, curve["x"], curve[y], error, fmt="none", color=color, transform=transform)
    for learned, face in ((True, color), (False, "white")):
        rows = curve[curve["learned"] == learned]
        axes.plot(rows["x"], rows[y], marker=marker, color=color, mfc=face, transform=transform, zorder=3, **POINT)


def _draw_without_rate(axes: Axes, x: pd.Series, *, offset: float, **style: Any) -> None:
    """Mark the configurations without a usable rate in the band at the bottom."""
    transform = offset_transform(axes, offset, base=axes.get_xaxis_transform())
    axes.plot(x, [BAND / 3] * len(x), mfc="white", transform=transform, zorder=3, **POINT, **style)


def _set_rate_limits(rates: Axes, points: pd.DataFrame) -> None:
    """Set the limits of the learning rate axis, with a band at the bottom for configurations without a usable rate."""
    low, high = points["max_lr_low"].min() / 1.5, points["max_lr_high"].max() * 1.5
    without = points["max_lr"].isna()
    low, high = (0.1, 1.0) if without.all() else (low, high)
    rates.set_ylim(low / (high / low) ** (BAND / (1 - BAND)) if without.any() else low, high)
    if without.any():
        rates.add_patch(Rectangle((0, 0), 1, BAND, transform=rates.transAxes, color="0.94", lw=0, zorder=0))
        note_on_band(rates, "no usable learning rate found", BAND)


def _handles(points: pd.DataFrame, names: list[str], threshold: float) -> list[Line2D]:
    handles = [handle(name, **POINT, **curve_style(number)) for number, name in enumerate(names)]
    grey: dict[str, Any] = {**POINT, "marker": "o", "color": "0.4"}
    handles.append(handle(f"median and range over {range_text(points['tests'])} seeds", **grey))
    if not points["learned"].all():
        handles.append(handle(f"accuracy below {threshold:.0%},\nor a seed without a rate", mfc="white", **grey))
    return handles
