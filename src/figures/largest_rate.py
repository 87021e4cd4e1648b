"""The largest usable learning rate, as range tests find it, against depth or any other number."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from start_training.analysis.suggestions import rate_points
from start_training.figures import draws
from start_training.figures.axes import curve_style, draw_points, finish, handle, moved, panels, plain_ticks
from start_training.figures.labels import option_of, range_text
from start_training.figures.start_of_training import AXES, note_on_band
from start_training.settings import Fraction, checked

BAND = 0.1  # of the height, for configurations without a rate
APART = 2.5  # points between the markers of neighbouring curves, which would hide each other
POINT: dict[str, Any] = {"ls": "", "ms": 4.5}


@draws("range_test")
@checked
def draw_largest_rate(
    table: pd.DataFrame, *, by: str | None = None, x: str = "depth", threshold: Fraction = 0.2, title: str = ""
) -> Figure:
    """max_lr against `x`, and beside it the highest validation accuracy of the same tests; a curve for each `by`.

    Points: median over seeds of one configuration, bars from the smallest to the largest; accuracy: mean ± standard
    error. Open where that stays below `threshold`, or a seed found no rate; in the band below where none did. The loss
    of a net that learns next to nothing has nowhere to turn up from, and its rate says little.
    Source: Smith 2018 (arXiv:1803.09820), the LR range test; Hanin & Rolnick 2018 (arXiv:1803.01719), whose nets have
    started to train at 20%.

    Args:
        table: Of `sweep_curves`, kind range_test.
        by: The column that tells curves apart; None: there is one.
        x: A column of numbers.
        threshold: Accuracy from which a net has started to train.
        title: Above the panels.

    Raises:
        ValueError: the table has no such column, or no test has ended.
    """
    points = rate_points(table.assign(option=option_of(table, by) if by else ""), x=x)
    points = points.assign(learned=(points["val_accuracy"] >= threshold) & (points["usable"] == points["tests"]))
    curves = [curve.sort_values("x") for _, curve in points.groupby("option", sort=False)]
    figure, [[rates, accuracies]] = panels(1, 2, size=(10.2, 4.2))
    for number, curve in enumerate(curves):
        style = {**curve_style(number), "aside": (number - (len(curves) - 1) / 2) * APART}
        ends = [curve["max_lr"] - curve["max_lr_low"], curve["max_lr_high"] - curve["max_lr"]]
        _draw(rates, curve, "max_lr", np.clip(ends, 0, None), **style)  # the median of one is rounded
        _draw(accuracies, curve, "val_accuracy", curve["val_accuracy_error"].to_numpy(), **style)
        _draw_without(rates, curve["x"][curve["max_lr"].isna()], **style)
    rates.set_yscale("log")
    plain_ticks(rates.yaxis)
    _limit(rates, points)
    rates.set_ylabel("largest usable learning rate, max_lr")
    accuracies.set(ylabel="highest validation accuracy in the test", ylim=(0, 1.02))
    accuracies.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    accuracies.axhline(threshold, color="0.6", lw=0.6, zorder=0)
    places, margin = sorted(points["x"].unique()), 0.1 * (np.ptp(points["x"]) or 1)
    for axes in (rates, accuracies):
        axes.set(xlabel=AXES.get(x, x), xlim=(places[0] - margin, places[-1] + margin))
        if len(places) <= 10:
            axes.set_xticks(places)
    names = list(points["option"].unique()) if by is not None else []
    return finish(figure, title, _handles(points, names, threshold))


def _draw(axes: Axes, curve: pd.DataFrame, y: str, error: Any, *, aside: float, marker: str, color: str) -> None:
    place = moved(axes, aside)
    axes.plot(curve["x"], curve[y], "-", color=color, lw=0.8, alpha=0.6, transform=place)
    draw_points(axes, curve["x"], curve[y], error, fmt="none", color=color, transform=place)
    for learned, face in ((True, color), (False, "white")):
        rows = curve[curve["learned"] == learned]
        axes.plot(rows["x"], rows[y], marker=marker, color=color, mfc=face, transform=place, zorder=3, **POINT)


def _draw_without(axes: Axes, x: pd.Series, *, aside: float, **style: Any) -> None:
    """In the band below, those of which no test found a rate."""
    place = moved(axes, aside, place=axes.get_xaxis_transform())
    axes.plot(x, [BAND / 3] * len(x), mfc="white", transform=place, zorder=3, **POINT, **style)


def _limit(rates: Axes, points: pd.DataFrame) -> None:
    """With a band below where a configuration found no rate."""
    low, high = points["max_lr_low"].min() / 1.5, points["max_lr_high"].max() * 1.5
    without = points["max_lr"].isna()
    low, high = (0.1, 1.0) if without.all() else (low, high)
    rates.set_ylim(low / (high / low) ** (BAND / (1 - BAND)) if without.any() else low, high)
    if without.any():
        rates.add_patch(Rectangle((0, 0), 1, BAND, transform=rates.transAxes, color="0.94", lw=0, zorder=0))
        note_on_band(rates, "no usable rate in the ramp", BAND)


def _handles(points: pd.DataFrame, names: list[str], threshold: float) -> list[Line2D]:
    handles = [handle(name, **POINT, **curve_style(number)) for number, name in enumerate(names)]
    grey: dict[str, Any] = {**POINT, "marker": "o", "color": "0.4"}
    handles.append(handle(f"median of {range_text(points['tests'])} seeds, range", **grey))
    if not points["learned"].all():
        handles.append(handle(f"below {threshold:.0%} accuracy,\nor a seed without a rate", mfc="white", **grey))
    return handles
