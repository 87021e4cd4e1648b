"""Elements shared by figures: panels, legend, caption and title, curves with bands, points with error bars, colours."""

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

PAD, GAP = 0.08, 0.1  # between labels and the end of a figure, and between panels, in inches
CHARACTERS = 17  # characters of a caption's line, for each inch of the figure's width
# Ten colours for curves. Source: Petroff 2021 (arXiv:2107.02270).
CYCLE = ("#3f90da", "#bd1f01", "#ffa90e", "#832db6", "#94a4a2", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
MARKERS = "osD^vP*X<>"
FEW = 4  # numeric options up to which curves have the colours of CYCLE; more options are shaded by their value


def panels(rows: int, columns: int, *, size: tuple[float, float], **layout: Any) -> tuple[Figure, Any]:
    """Create a figure with a grid of panels, which have no frame at the top and at the right.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        size: Width and height in inches.
        **layout: Further arguments of `matplotlib.figure.Figure.subplots`.

    Returns:
        The figure, and an array of axes of shape (rows, columns).
    """
    figure = Figure(figsize=size, layout="constrained")
    with rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        return figure, figure.subplots(rows, columns, squeeze=False, **layout)


def finish(
    figure: Figure, title: str, handles: Any = (), *, legend_title: str | None = None, caption: str = ""
) -> Figure:
    """Add a legend at the right, a caption below the panels and a title to a figure, and return the figure.

    Args:
        figure: The figure, which is changed in place.
        title: Title above the panels.
        handles: Entries of the legend; without entries there is no legend.
        legend_title: Title of the legend, such as the setting whose values it lists.
        caption: Text below the panels, which is wrapped to the width of the figure.
    """
    if handles:
        place: dict[str, Any] = {"loc": "outside right upper", "alignment": "left", "frameon": False}
        figure.legend(handles=handles, title=legend_title, fontsize=8, **place)
    if caption:
        text = textwrap.fill(caption, int(CHARACTERS * figure.get_figwidth()))
        figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    # The title is aligned left, since the constrained layout would centre it over panels and legend together.
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def stacked_panels(
    heights: Sequence[float], title: str, *, width: float, right: float, bottom: float = 0.45, above: float = 0.12
) -> tuple[Figure, list[Axes]]:
    """Create a figure of panels with a shared axis below each other, and a title above them.

    Its margins are fixed: a constrained layout would take longer than the drawing, in every job of a sweep. Call
    `fit_left_margin` when all is drawn.

    Args:
        heights: Height of each panel in inches, from the top.
        title: Title at the upper left, which is wrapped and, if a word is still too wide, made smaller.
        width: Width of the figure in inches.
        right: Width of the right margin in inches. `bottom` and `above`, below and above the panels, likewise.
        bottom: Margin for the labels of the shared axis.
        above: Margin between title and panels.

    Returns:
        The figure, and the panels from the top.
    """
    lines = textwrap.wrap(title, int(11.5 * width))
    total = bottom + sum(heights) + GAP * (len(heights) - 1) + above + 0.18 * len(lines) + 0.06
    figure = Figure(figsize=(width, total))
    corner: dict[str, Any] = {"x": PAD / width, "y": 1 - 0.06 / total, "ha": "left", "va": "top"}
    text = figure.suptitle("\n".join(lines), fontsize=10, parse_math=False, **corner)
    if lines and (extent := text.get_window_extent().width / figure.dpi) > width - 2 * PAD:
        text.set_fontsize(10 * (width - 2 * PAD) / extent)
    panels, place = list[Axes](), bottom + sum(heights) + GAP * (len(heights) - 1)
    for height in heights:
        bounds = (0.1, (place - height) / total, 0.9 - right / width, height / total)
        axes = figure.add_axes(bounds, sharex=panels[0] if panels else None)
        axes.tick_params(labelbottom=len(panels) == len(heights) - 1)
        panels.append(axes)
        place -= height + GAP
    return figure, panels


def fit_left_margin(figure: Figure, panels: Sequence[Axes]) -> None:
    """Move the left ends of panels of equal width such that their labels begin at the left end of the figure."""
    boxes = [axes.yaxis.get_tightbbox() for axes in panels]
    place, width = panels[0].get_position(), figure.get_figwidth()
    start = place.x0 + PAD / width - min(box.x0 for box in boxes if box is not None) / figure.bbox.width
    for axes in panels:
        _, bottom, _, height = axes.get_position().bounds
        axes.set_position((start, bottom, place.x1 - start, height))


def handle(label: str, **style: Any) -> Line2D:
    """Create an entry of a legend: a line of this style, or a point if `style` has a marker and ls=""."""
    return Line2D([], [], label=label, **style)


def draw_mean(axes: Axes, x: Any, mean: Any, error: Any, *, alpha: float = 0.2, **style: Any) -> None:
    """Draw a curve of means with a band of ± the error; the band has no width where the error is NaN."""
    mean, error = np.asarray(mean, float), np.nan_to_num(np.asarray(error, float))
    axes.plot(x, mean, **style)
    axes.fill_between(x, mean - error, mean + error, color=style["color"], alpha=alpha, lw=0)


def draw_points(axes: Axes, x: Any, y: Any, error: Any, **style: Any) -> None:
    """Draw points with error bars; `error` has shape (n,), or (2, n) for the lengths below and above each point."""
    axes.errorbar(x, y, yerr=error, **{"ls": "", "ms": 4.5, "elinewidth": 1, "capsize": 2, **style})


def offset_transform(axes: Axes, right: float, up: float = 0, *, base: Transform | None = None) -> Transform:
    """Return a transform followed by a shift to the right and up.

    Args:
        axes: The axes that are drawn in.
        right: Shift to the right in points (1/72 inch).
        up: Shift upwards in points.
        base: The transform before the shift; None is the transform of data coordinates.
    """
    return (base or axes.transData) + ScaledTranslation(right / 72, up / 72, axes.figure.dpi_scale_trans)


def plain_ticks(axis: Axis, *, subs: Sequence[float] = (1, 2, 5), minor: bool = False) -> None:
    """Label a logarithmic axis with plain numbers, at `subs` times powers of ten; `minor` keeps the minor ticks."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
    if not minor:
        axis.set_minor_locator(NullLocator())


def colours(names: Iterable[str]) -> dict[str, Any]:
    """Assign a colour to each different name.

    More than `FEW` numbers are shaded by their value, and more than ten other names by their order. Otherwise the names
    get the colours of `CYCLE` in their order.
    """
    options = list(dict.fromkeys(names))
    ordered = bool(pd.to_numeric(pd.Series(options, dtype=object), errors="coerce").notna().all())
    if len(options) <= (FEW if ordered else len(CYCLE)):
        return dict(zip(options, CYCLE, strict=False))
    by_size = shades(sorted(options, key=float) if ordered else options)
    return {option: by_size[option] for option in options}


def shades(names: Sequence[str], *, last: float = 0.9) -> dict[str, Any]:
    """Assign equidistant colours of viridis to names, from 0 to `last`; the end of the map is too pale for lines."""
    return dict(zip(names, colormaps["viridis"](np.linspace(0, last, len(names))), strict=True))


def curve_style(number: int) -> dict[str, Any]:
    """Return marker and colour of the curve with this number."""
    return {"marker": MARKERS[number % len(MARKERS)], "color": f"C{number % 10}"}
