"""What all interactive figures of a page have in common: colours, escaped text, hover texts and the axis of steps."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from start_training.analysis.step_columns import StepColumns

# Okabe & Ito 2008, distinguishable with any common colour blindness, without its yellow and black, which vanish on a
# light and on a dark page.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
GREY = "#888888"
Trace = dict[str, Any]  # a curve or heat map, as plotly's script takes it
Plot = dict[str, Any]  # a figure: its traces as "data", and its "layout"
LONGEST = 160  # most characters of a text in a figure


def plain(text: object) -> str:
    """Escape a text for a figure, in which plotly would otherwise read `<b>` or a link, and cut it to `LONGEST`.

    Example:
        >>> plain('<a href="https://example.org">relu</a>')
        '&lt;a href="https://example.org"&gt;relu&lt;/a&gt;'
    """
    words = str(text)
    return html.escape(words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…", quote=False)


def numbers(values: Any, digits: int = 5) -> list[Any]:
    """Return an array as nested lists of numbers of `digits` significant digits; what is not finite becomes None.

    Example:
        >>> numbers([1 / 3, float("inf"), 1234567.0], 3)
        [0.333, None, 1230000.0]
    """
    array = np.asarray(values, float)
    if array.ndim > 1:
        return [numbers(row, digits) for row in array]
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in array.tolist()]


def rounded(values: Any, decimals: int) -> list[list[Any]]:
    """Return a matrix as lists of numbers with so many decimals; what is not finite becomes None.

    Example:
        >>> rounded([[-1 / 3, float("nan")]], 2)
        [[-0.33, None]]
    """
    array = np.round(np.asarray(values, float), decimals) + 0.0
    return [[value if known else None for value, known in zip(row, finite, strict=True)]
            for row, finite in zip(array.tolist(), np.isfinite(array).tolist(), strict=True)]  # fmt: skip


def step_axis(columns: StepColumns, places: NDArray[np.float64]) -> list[Any]:
    """Return places of `StepColumns` as coordinates of the axis that `step_axis_layout` describes."""
    return numbers(np.exp(places) if columns.logarithmic else places, 7)


def step_axis_layout(columns: StepColumns) -> dict[str, Any]:
    """Return the layout of an axis of steps, which is logarithmic, of step + 1, where `columns` are."""
    if columns.logarithmic:
        return {"title": {"text": "training step + 1"}, "type": "log", "dtick": 1}
    return {"title": {"text": "training step"}}


def step_texts(columns: StepColumns) -> list[str]:
    """Return for each column the number of its step, or of its first and last one.

    Example:
        >>> step_texts(StepColumns(np.array([0, 1, 2]), np.array([0, 1]), False))
        ['0', '1–2']
    """
    first = columns.steps[columns.starts]
    last = columns.steps[np.append(columns.starts[1:], len(columns.steps)) - 1]
    return [str(begin) if begin == end else f"{begin}–{end}" for begin, end in zip(first, last, strict=True)]


def lines(x: Sequence[Any], y: Sequence[Any], colour: str, hover: str, **more: Any) -> Trace:
    """Return a curve.

    Args:
        x: Coordinates.
        y: Values; None is a gap.
        colour: Its colour.
        hover: The text at a point, as plotly's template.
        more: Further attributes of plotly's scatter, such as `customdata`; `line` is merged with the colour.
    """
    line = {"color": colour, **more.pop("line", {})}
    common = {"type": "scatter", "mode": "lines", "x": x, "y": y, "hovertemplate": f"{hover}<extra></extra>"}
    return {**common, "line": line, **more}


def band(x: Sequence[Any], low: Sequence[Any], high: Sequence[Any], colour: str, **more: Any) -> list[Trace]:
    """Return two curves with the area between them filled."""
    common: dict[str, Any] = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", **more}
    fill = f"rgba({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))}, 0.2)"
    return [
        {**common, "x": x, "y": low, "showlegend": False},
        {**common, "x": x, "y": high, "fill": "tonexty", "fillcolor": fill},
    ]


def figure(traces: Sequence[Trace], *, height: int, **layout: Any) -> Plot:
    """Return a figure as plain data for plotly; the page gives it the colours of a light or a dark background."""
    place = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    margin = {"l": 64, "r": 16, "t": 40, "b": 48}
    return {"data": list(traces), "layout": {"height": height, "legend": place, "margin": margin, **layout}}


def stacked(panels: Mapping[str, Sequence[Trace]], x: Mapping[str, Any], **y: Mapping[str, Any]) -> Plot:
    """Return a figure of panels above each other that share their axis x.

    Args:
        panels: The curves of each panel, by the title of its axis y.
        x: Layout of the axis x.
        y: Further layout of the axis y of the panels whose title, with _ for a space, is the name.
    """
    names = ["y" if row == 0 else f"y{row + 1}" for row in range(len(panels))]
    traces = [{**trace, "yaxis": name} for name, panel in zip(names, panels.values(), strict=True) for trace in panel]
    axes = {
        f"yaxis{name[1:]}": {"title": {"text": title}, **y.get(title.replace(" ", "_"), {})}
        for name, title in zip(names, panels, strict=True)
    }
    grid = {"rows": len(panels), "columns": 1, "subplots": [[f"x{name}"] for name in names], "ygap": 0.2}
    return figure(traces, height=140 + 130 * len(panels), grid=grid, xaxis=dict(x), **axes)
