"""What figures share: panels, legend, caption and title; curves with bands and points with error bars; colours."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation, Transform

CHARACTERS = 17  # of a caption, for each inch of the figure's width
# Petroff 2021 (arXiv:2107.02270), ten colours.
CYCLE = ("#3f90da", "#bd1f01", "#ffa90e", "#832db6", "#94a4a2", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
MARKERS = "osD^vP*X<>"
FEW = 4  # numbers; more of them are shades, in their order


def panels(rows: int, columns: int, *, size: tuple[float, float], **layout: Any) -> tuple[Figure, Any]:
    """A figure and its panels, which have no frame at the top and the right.

    Args:
        rows: Of panels.
        columns: Of panels.
        size: Width and height in inches.
        **layout: As `matplotlib.figure.Figure.subplots` has it.

    Returns:
        The figure, and an array of axes of shape (rows, columns).
    """
    figure = Figure(figsize=size, layout="constrained")
    with rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        return figure, figure.subplots(rows, columns, squeeze=False, **layout)


def finish(
    figure: Figure, title: str, handles: Any = (), *, legend_title: str | None = None, caption: str = ""
) -> Figure:
    """Add the legend at the right, the caption beneath and the title; returns the figure.

    Args:
        figure: To add them to.
        title: Above the panels.
        handles: Of the legend; none: no legend.
        legend_title: Such as the setting whose values the legend has.
        caption: Is broken into lines.
    """
    if handles:
        place: dict[str, Any] = {"loc": "outside right upper", "alignment": "left", "frameon": False}
        figure.legend(handles=handles, title=legend_title, fontsize=8, **place)
    if caption:
        text = textwrap.fill(caption, int(CHARACTERS * figure.get_figwidth()))
        figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")  # the constrained layout centres it over the legend, too
    return figure


def handle(label: str, **style: Any) -> Line2D:
    """An entry of a legend: a line, or with `marker` and ls="" a point, of this style."""
    return Line2D([], [], label=label, **style)


def draw_mean(axes: Axes, x: Any, mean: Any, error: Any, *, alpha: float = 0.2, **style: Any) -> None:
    """A curve of means with a band of ± its error, which has no width where the error is NaN."""
    mean, error = np.asarray(mean, float), np.nan_to_num(np.asarray(error, float))
    axes.plot(x, mean, **style)
    axes.fill_between(x, mean - error, mean + error, color=style["color"], alpha=alpha, lw=0)


def draw_points(axes: Axes, x: Any, y: Any, error: Any, **style: Any) -> None:
    """Points with error bars. error: half of each bar, (n,), or what is below and above the point, (2, n)."""
    axes.errorbar(x, y, yerr=error, **{"ls": "", "ms": 4.5, "elinewidth": 1, "capsize": 2, **style})


def moved(axes: Axes, right: float, up: float = 0, *, place: Transform | None = None) -> Transform:
    """The transform to a place, of the data unless given, and from there so many points to the right and up."""
    return (place or axes.transData) + ScaledTranslation(right / 72, up / 72, axes.figure.dpi_scale_trans)


def plain_ticks(axis: Axis, *, subs: Sequence[float] = (1, 2, 5), minor: bool = False) -> None:
    """Ticks of a logarithmic axis at `subs` times powers of ten, as plain numbers; minor: with ticks between them."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
    if not minor:
        axis.set_minor_locator(NullLocator())


def colours(names: Iterable[str]) -> dict[str, Any]:
    """A colour for each different name: shades in order for more than a few numbers or ten names, else the cycle's."""
    options = list(dict.fromkeys(names))
    ordered = bool(pd.to_numeric(pd.Series(options, dtype=object), errors="coerce").notna().all())
    if len(options) <= (FEW if ordered else len(CYCLE)):
        return dict(zip(options, CYCLE, strict=False))
    by_size = shades(sorted(options, key=float) if ordered else options)
    return {option: by_size[option] for option in options}


def shades(names: Sequence[str], *, last: float = 0.9) -> dict[str, Any]:
    """A colour of viridis for each name, from 0 to `last`: its end is too pale for a line."""
    return dict(zip(names, colormaps["viridis"](np.linspace(0, last, len(names))), strict=True))


def curve_style(number: int) -> dict[str, Any]:
    """Marker and colour of a curve, by its number."""
    return {"marker": MARKERS[number % len(MARKERS)], "color": f"C{number % 10}"}
