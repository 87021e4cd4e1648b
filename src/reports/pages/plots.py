"""What all interactive figures of a page have in common: colours, escaped text, hover texts and the axis of steps."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from start_training.analysis.step_columns import StepColumns

# Okabe & Ito 2008, distinguishable with any common colour blindness, without its yellow and black, which vanish on a
# light and on a dark page.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
GREY = "#888888"
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


def band(x: Sequence[Any], low: Sequence[Any], high: Sequence[Any], colour: str, name: str) -> list[go.Scatter]:
    """Return two curves with the area between them filled, as one entry of the legend."""
    common: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": name}
    fill = f"rgba({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))}, 0.2)"
    return [
        go.Scatter(x=x, y=low, showlegend=False, **common),
        go.Scatter(x=x, y=high, name=name, fill="tonexty", fillcolor=fill, **common),
    ]


def finished(figure: go.Figure, *, height: int, **layout: Any) -> dict[str, Any]:
    """Return a figure as plain data, without plotly's default template: the page has a light and a dark one."""
    place = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    margin = {"l": 64, "r": 16, "t": 40, "b": 48}
    figure.update_layout(height=height, legend=place, margin=margin, **layout)
    data = figure.to_plotly_json()
    data["layout"].pop("template", None)
    return data
