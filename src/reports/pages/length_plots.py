"""Interactive figures of the activation lengths of a run: heat map, profile over layers, growth rate and variance."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.analysis.step_columns import BROKEN, MISSING, ZERO, StepColumns, step_columns
from start_training.figures.lengths_over_time import value_limits
from start_training.reports.pages.plots import (
    COLOURS,
    Plot,
    band,
    figure,
    lines,
    numbers,
    plain,
    rounded,
    stacked,
    step_axis,
    step_axis_layout,
    step_texts,
)
from start_training.reports.pages.theory_band import TheoryBand
from start_training.runs.read_lengths import layer_matrix

STATES = ("", "length 0", "not finite", "not measured")  # what a cell of the heat map shows, by its number
# Colours of these states; a length has those of viridis.
STATE_COLOURS = ("#ffffff", "#000000", "#d55e00", "#bbbbbb")
INDEX = {ZERO: 1, BROKEN: 2, MISSING: 3}  # of a state of `StepColumns.log_means` in `STATES`
STEP_ROWS = {"growth_rate": "growth rate<br>(nats per layer)", "layer_variance": "variance<br>over layers"}


def length_plots(
    rows: pd.DataFrame, theory: TheoryBand | None, *, most_columns: int, decimals: int
) -> tuple[dict[str, Plot], dict[str, Any]]:
    """Draw the heat map of log lengths and the profile over layers at one step, which a slider selects.

    Args:
        rows: The table `lengths/` of a run.
        theory: The prediction for the first step; None without one.
        most_columns: Most columns of the heat map; neighbouring steps share one.
        decimals: Decimals of log lengths, in nats.
    Returns:
        The figures `heat` and `profile`, and what the page needs to connect them: steps, the text of each column's
        steps; places, where it is on the axis; layers, the name of each layer; states, a matrix of indices of `STATES`,
        or None if all cells are lengths; merged, whether columns show several steps.
    """
    means = layer_matrix(rows)
    complete = len(rows) == means.size
    measured = np.ones(means.shape, bool) if complete else layer_matrix(rows, "count").notna().to_numpy()
    columns = step_columns(means.columns.to_numpy(), most_columns)
    logs, states = columns.log_means(means.to_numpy(float), measured)
    indices = np.select([states == state for state in INDEX], list(INDEX.values()), 0)
    names = [plain(" ".join(map(str, key[1:]))) for key in means.index]
    edges = columns.edges
    linked = {
        "steps": step_texts(columns),
        "places": step_axis(columns, (edges[1:] + edges[:-1]) / 2),
        "layers": names,
        "states": indices.tolist() if indices.any() else None,
        "merged": len(columns.starts) < len(columns.steps),
    }
    values = rounded(logs, decimals)
    return {"heat": _heat(columns, values, indices, logs), "profile": _profile(values, names, theory, logs)}, linked


def _heat(columns: StepColumns, values: list[Any], indices: NDArray[Any], logs: NDArray[np.float64]) -> Plot:
    (low, high), _ = value_limits(logs)
    cell = "layer %{y}: %{customdata[0]}<br>step %{customdata[1]}<br>"
    common: dict[str, Any] = {"type": "heatmap", "x": step_axis(columns, columns.edges), "hoverongaps": False}
    bar = {"title": {"text": "log mean<br>length (nats)"}, "thickness": 12, "outlinewidth": 0}
    shades = {"colorscale": "Viridis", "zmin": low, "zmax": high, "colorbar": bar}
    hover = cell + "log length %{z} nats<extra></extra>"
    traces = [{**common, "z": values, "hovertemplate": hover, **shades}]
    if indices.any():
        steps = [[(n + at) / len(STATES), colour] for n, colour in enumerate(STATE_COLOURS) for at in (0, 1)]
        scale = {"colorscale": steps, "zmin": -0.5, "zmax": len(STATES) - 0.5, "showscale": False}
        marks = rounded(np.where(indices, indices, np.nan), 0)
        hover = cell + "%{customdata[2]}<extra></extra>"
        traces.append({**common, "z": marks, "hovertemplate": hover, **scale})
    start: dict[str, Any] = {"x0": common["x"][0], "x1": common["x"][0], "y0": 0, "y1": 1}
    dotted = {"color": "#ff00ff", "width": 1.5, "dash": "dot"}
    line = {"type": "line", "xref": "x", "yref": "paper", **start, "line": dotted}
    axis = {**step_axis_layout(columns), "showgrid": False}
    layers = {"title": {"text": "layer"}, "showgrid": False, "zeroline": False}
    return figure(traces, height=420, xaxis=axis, yaxis=layers, shapes=[line])


def _profile(values: list[Any], names: list[str], theory: TheoryBand | None, logs: NDArray[np.float64]) -> Plot:
    layers = list(range(len(values)))
    traces = []
    (low, high), _ = value_limits(logs if theory is None else np.append(logs.ravel(), theory.log_mean))
    reach, margin = high - low, 0.05 * (high - low)
    if theory is not None:
        if theory.low is not None and theory.high is not None:
            name = "theory: 95% of nets at initialization"
            traces += band(layers, numbers(theory.low), numbers(theory.high), COLOURS[1], name=name)
            # as much of the band as leaves the curve visible
            low, high = max(min(low, theory.low.min()), low - reach), min(max(high, theory.high.max()), high + reach)
        hover, mean = "layer %{x}<br>theory: %{y:.4g} nats", numbers(theory.log_mean)
        traces.append(lines(layers, mean, COLOURS[1], hover, name="theory: mean", line={"dash": "dash"}))
    hover = "layer %{x}: %{customdata}<br>log length %{y} nats"
    marked: dict[str, Any] = {"mode": "lines+markers", "marker": {"size": 5, "color": COLOURS[0]}}
    first = [row[0] for row in values]
    traces.append(lines(layers, first, COLOURS[0], hover, customdata=names, name="measured", **marked))
    y = {"title": {"text": "log mean length (nats)"}, "range": [low - margin, high + margin]}
    return figure(traces, height=420, xaxis={"title": {"text": "layer"}}, yaxis=y)


def growth_plot(steps: pd.DataFrame, *, most_columns: int) -> Plot | None:
    """Draw growth rate and layer variance against the step; None if a run recorded neither.

    Args:
        steps: The table `steps/` of a run.
        most_columns: Most points of a curve; each is the mean of neighbouring steps, with a band from their smallest to
            their largest value.
    """
    steps = steps.drop_duplicates("step")
    drawn = [name for name in STEP_ROWS if name in steps and np.isfinite(steps[name].astype(float)).any()]
    if not drawn:
        return None
    columns = step_columns(steps["step"].to_numpy(), most_columns)
    x, texts = step_axis(columns, columns.places(columns.mean(columns.steps.astype(float)))), step_texts(columns)
    panels = {}
    for name, colour in zip(drawn, COLOURS, strict=False):
        values, curves = steps[name].to_numpy(float), []
        if len(columns.starts) < len(columns.steps):
            low, high = columns.range(values)
            curves += band(x, numbers(low), numbers(high), colour)
        hover = f"step %{{customdata}}<br>{name.replace('_', ' ')} %{{y:.4g}}"
        panels[STEP_ROWS[name]] = [*curves, lines(x, numbers(columns.mean(values)), colour, hover, customdata=texts)]
    plot = stacked(panels, step_axis_layout(columns))
    plot["layout"]["showlegend"] = False
    return plot
