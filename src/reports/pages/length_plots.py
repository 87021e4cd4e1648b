"""Interactive figures of the activation lengths of a run: heat map, profile over layers, growth rate and variance."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from start_training.analysis.step_columns import GOOD, StepColumns, step_columns
from start_training.figures.lengths_over_time import value_limits
from start_training.reports.pages.plots import (
    COLOURS,
    band,
    finished,
    numbers,
    plain,
    step_axis,
    step_axis_layout,
    step_texts,
)
from start_training.reports.pages.theory_band import TheoryBand
from start_training.runs.read_lengths import layer_matrix

STATES = ("", "length 0", "not finite", "not measured")  # what a cell of the heat map shows, by its number
# Colours of these states; a length has those of viridis.
STATE_COLOURS = ("#ffffff", "#000000", "#d55e00", "#bbbbbb")
STEP_ROWS = {"growth_rate": "growth rate<br>(nats per layer)", "layer_variance": "variance<br>over layers"}


def length_plots(
    rows: pd.DataFrame, theory: TheoryBand | None, *, most_columns: int, digits: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Draw the heat map of log lengths and the profile over layers at one step, which a slider selects.

    Args:
        rows: The table `lengths/` of a run.
        theory: The prediction for the first step; None without one.
        most_columns: Most columns of the heat map; neighbouring steps share one.
        digits: Significant digits of lengths in nats.
    Returns:
        The figures `heat` and `profile`, and what the page needs to connect them: steps, the text of each column's
        steps; places, where it is on the axis; layers, the name of each layer; states, a matrix of numbers of `STATES`,
        or None if all cells are lengths; merged, whether columns show several steps.
    """
    means = layer_matrix(rows)
    measured = layer_matrix(rows, "count").notna() if len(rows) != means.size else means.map(lambda _: True)
    columns = step_columns(means.columns.to_numpy(), most_columns)
    logs, states = columns.log_means(means.to_numpy(float), measured.to_numpy(bool))
    names = [plain(" ".join(map(str, key[1:]))) for key in means.index]
    edges = columns.edges
    linked = {
        "steps": step_texts(columns),
        "places": step_axis(columns, (edges[1:] + edges[:-1]) / 2),
        "layers": names,
        "states": states.tolist() if (states != GOOD).any() else None,
        "merged": len(columns.starts) < len(columns.steps),
    }
    values = numbers(logs, digits)
    return {"heat": _heat(columns, values, states, logs), "profile": _profile(values, names, theory, logs)}, linked


def _heat(columns: StepColumns, values: list[Any], states: Any, logs: Any) -> dict[str, Any]:
    (low, high), _ = value_limits(logs)
    x = step_axis(columns, columns.edges)
    hover = "layer %{y}: %{customdata[0]}<br>step %{customdata[1]}<br>log length %{z:.4g} nats<extra></extra>"
    bar = {"title": {"text": "log mean<br>length (nats)"}, "thickness": 12, "outlinewidth": 0}
    shades: dict[str, Any] = {"colorscale": "Viridis", "zmin": low, "zmax": high, "colorbar": bar}
    figure = go.Figure(go.Heatmap(x=x, z=values, hovertemplate=hover, hoverongaps=False, **shades))
    if (states != GOOD).any():
        marked = np.where(states == GOOD, np.nan, states.astype(float))
        steps = [[(n + at) / len(STATES), colour] for n, colour in enumerate(STATE_COLOURS) for at in (0, 1)]
        hover = "layer %{y}: %{customdata[0]}<br>step %{customdata[1]}<br>%{customdata[2]}<extra></extra>"
        scale: dict[str, Any] = {"colorscale": steps, "zmin": -0.5, "zmax": len(STATES) - 0.5, "showscale": False}
        marks = numbers(marked)
        figure.add_trace(go.Heatmap(x=x, z=marks, hovertemplate=hover, hoverongaps=False, **scale))
    line = {"type": "line", "xref": "x", "yref": "paper", "y0": 0, "y1": 1, "x0": x[0], "x1": x[0]}
    line |= {"line": {"color": "#ff00ff", "width": 1, "dash": "dot"}}
    axis = {**step_axis_layout(columns), "showgrid": False}
    rows = {"title": {"text": "layer"}, "showgrid": False, "zeroline": False}
    return finished(figure, height=420, xaxis=axis, yaxis=rows, shapes=[line])


def _profile(values: list[Any], names: list[str], theory: TheoryBand | None, logs: Any) -> dict[str, Any]:
    layers = list(range(len(values)))
    figure = go.Figure()
    if theory is not None:
        if theory.low is not None and theory.high is not None:
            edges = numbers(theory.low), numbers(theory.high)
            figure.add_traces(band(layers, *edges, COLOURS[1], "theory: 95% of nets at initialization"))
        hover = "layer %{x}<br>theory: %{y:.4g} nats<extra></extra>"
        dashed: dict[str, Any] = {"color": COLOURS[1], "dash": "dash"}
        mean = numbers(theory.log_mean)
        figure.add_scatter(x=layers, y=mean, mode="lines", name="theory: mean", line=dashed, hovertemplate=hover)
    hover = "layer %{x}: %{customdata}<br>log length %{y:.4g} nats<extra></extra>"
    solid: dict[str, Any] = {"mode": "lines+markers", "line": {"color": COLOURS[0]}, "marker": {"size": 5}}
    first = [row[0] for row in values]
    figure.add_scatter(x=layers, y=first, customdata=names, name="measured", hovertemplate=hover, **solid)
    (low, high), _ = value_limits(logs if theory is None else np.append(logs.ravel(), theory.log_mean))
    reach, margin = high - low, 0.05 * (high - low)
    if theory is not None and theory.low is not None and theory.high is not None:  # as much of it as leaves the curve
        low, high = max(min(low, theory.low.min()), low - reach), min(max(high, theory.high.max()), high + reach)
    y = {"title": {"text": "log mean length (nats)"}, "range": [low - margin, high + margin]}
    return finished(figure, height=420, xaxis={"title": {"text": "layer"}}, yaxis=y)


def growth_plot(steps: pd.DataFrame, *, most_columns: int, digits: int) -> dict[str, Any] | None:
    """Draw growth rate and layer variance against the step; None if a run recorded neither.

    Args:
        steps: The table `steps/` of a run.
        most_columns: Most points of a curve; each is the mean of neighbouring steps, with a band from their smallest to
            their largest value.
        digits: Significant digits.
    """
    steps = steps.drop_duplicates("step")
    drawn = [name for name in STEP_ROWS if name in steps and np.isfinite(steps[name].astype(float)).any()]
    if not drawn:
        return None
    columns = step_columns(steps["step"].to_numpy(), most_columns)
    x = step_axis(columns, columns.places(columns.mean(columns.steps.astype(float))))
    figure = make_subplots(rows=len(drawn), shared_xaxes=True, vertical_spacing=0.08)
    texts = step_texts(columns)
    for row, (name, colour) in enumerate(zip(drawn, COLOURS, strict=False), 1):
        values = steps[name].to_numpy(float)
        if len(columns.starts) < len(columns.steps):
            low, high = columns.range(values)
            edges = numbers(low, digits), numbers(high, digits)
            figure.add_traces(band(x, *edges, colour, "smallest to largest"), rows=row, cols=1)
        hover = f"step %{{customdata}}<br>{name.replace('_', ' ')} %{{y:.4g}}<extra></extra>"
        means: dict[str, Any] = {"y": numbers(columns.mean(values), digits), "customdata": texts}
        figure.add_scatter(x=x, **means, mode="lines", line_color=colour, hovertemplate=hover, row=row, col=1)
        figure.update_yaxes(title_text=STEP_ROWS[name], row=row, col=1)
    axis = step_axis_layout(columns)
    figure.update_xaxes(**{key: value for key, value in axis.items() if key != "title"})
    figure.update_xaxes(title=axis["title"], row=len(drawn), col=1)
    return finished(figure, height=160 + 130 * len(drawn), showlegend=False)
