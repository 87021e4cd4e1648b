"""Interactive figures of the training of a run: loss, accuracy, rates, its range test, and the phases of its layers."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from start_training.analysis.step_columns import step_columns
from start_training.reports.pages.plots import COLOURS, GREY, finished, numbers, plain
from start_training.theory.edge_of_chaos import boundary

# Panels by the unit on their axis, with the columns that each may show: of metrics.csv, then of the tables by step.
PANELS: dict[str, tuple[str, ...]] = {
    "loss": ("train/loss", "val/loss", "test/loss", "loss"),
    "accuracy": ("val/accuracy", "test/accuracy"),
    "learning rate": ("learning_rate",),
    "momentum": ("momentum",),
}
# Name, colour and marker of the curves, by the part of the column before the slash.
CURVES: dict[str, tuple[str, str, str]] = {
    "loss": ("training, each step", GREY, "circle"),
    "train": ("training, mean of an epoch", COLOURS[0], "circle"),
    "val": ("validation", COLOURS[1], "square"),
    "test": ("test", COLOURS[2], "diamond"),
}
TEST_PANELS = {"loss": ("train_loss", "val_loss"), "accuracy": ("val_accuracy",)}


def training_plot(
    metrics: pd.DataFrame, steps: pd.DataFrame | None, settings: pd.DataFrame | None, *, most_points: int
) -> dict[str, Any] | None:
    """Draw loss, accuracy, learning rate and momentum against the step; None if nothing was recorded.

    Args:
        metrics: The rows of metrics.csv.
        steps: The table `steps/`, for the training loss of each step.
        settings: The table `hyperparameters/`; without it the learning rate of `steps` or `metrics` is drawn.
        most_points: Most points of a curve by step; each is the mean of neighbouring steps.
    """
    curves = _curves(metrics, steps, settings, most_points)
    panels = {unit: [name for name in names if name in curves] for unit, names in PANELS.items()}
    panels = {unit: names for unit, names in panels.items() if names}
    if not panels:
        return None
    figure = make_subplots(rows=len(panels), shared_xaxes=True, vertical_spacing=0.06)
    for row, (unit, names) in enumerate(panels.items(), 1):
        for name in names:
            label, colour, symbol = CURVES.get(name.partition("/")[0], (unit, COLOURS[0], "circle"))
            mode = "lines" if "/" not in name else "markers" if symbol == "diamond" else "lines+markers"
            style: dict[str, Any] = {"mode": mode, "line": {"color": colour, "width": 1 if colour == GREY else 2}}
            style |= {"marker": {"size": 10 if mode == "markers" else 5, "color": colour, "symbol": symbol}}
            hover = f"step %{{x}}<br>{label} {unit if '/' in name else ''} %{{y:.5g}}<extra></extra>"
            x, y = numbers(curves[name].index, 9), numbers(curves[name].to_numpy())
            style |= {"showlegend": unit == "loss", "name": label, "hovertemplate": hover}
            figure.add_scatter(x=x, y=y, **style, row=row, col=1)
        if unit in ("learning rate", "momentum"):
            figure.update_yaxes(rangemode="tozero", row=row, col=1)
        figure.update_yaxes(title_text=unit, row=row, col=1)
    figure.update_xaxes(title_text="training step", row=len(panels), col=1)
    return finished(figure, height=150 + 130 * len(panels))


def _curves(
    metrics: pd.DataFrame, steps: pd.DataFrame | None, settings: pd.DataFrame | None, most: int
) -> "dict[str, pd.Series[Any]]":
    """Return the values of each column that was recorded, by step."""
    curves = {}
    for source, names in ((metrics, PANELS), (steps, ["loss"]), (settings, ["learning rate", "momentum"])):
        for name in [column for panel in names for column in PANELS[panel]]:
            if source is None or name not in source or not np.isfinite(source[name].astype(float)).any():
                continue
            if name in curves and source is not settings:
                continue
            values = source.dropna(subset=name).drop_duplicates("step").set_index("step")[name].astype(float)
            curves[name] = values if source is metrics else _thinned(values, most)
    if steps is not None and settings is None and "learning_rate" in steps:
        curves["learning_rate"] = _thinned(steps.drop_duplicates("step").set_index("step")["learning_rate"], most)
    return curves


def _thinned(values: "pd.Series[Any]", most: int) -> "pd.Series[Any]":
    columns = step_columns(values.index.to_numpy(), most)
    steps = columns.mean(columns.steps.astype(float))
    return pd.Series(columns.mean(values.to_numpy(float)), index=np.round(steps, 1))


def range_test_plot(rows: pd.DataFrame, max_lr: float | None) -> dict[str, Any]:
    """Draw loss and accuracy of a learning rate range test against the learning rate.

    Args:
        rows: The table `range_test/` of a run.
        max_lr: The suggested largest rate; None if the test has not ended.
    """
    figure = make_subplots(rows=len(TEST_PANELS), shared_xaxes=True, vertical_spacing=0.06)
    rate = rows["learning_rate"]
    for row, (unit, names) in enumerate(TEST_PANELS.items(), 1):
        for name, colour in zip(names, COLOURS, strict=False):
            known = rows[np.isfinite(rows[name].astype(float))]
            label = name.replace("_", " ")
            hover = f"learning rate %{{x:.3g}}, step %{{customdata}}<br>{label} %{{y:.4g}}<extra></extra>"
            values: dict[str, Any] = {"x": numbers(known["learning_rate"]), "y": numbers(known[name])}
            values |= {"customdata": known["step"].tolist(), "line_color": colour, "name": label}
            figure.add_scatter(**values, mode="lines", hovertemplate=hover, row=row, col=1)
        figure.update_yaxes(title_text=unit, row=row, col=1)
    if max_lr is not None:
        figure.add_vline(max_lr, line={"color": GREY, "dash": "dash"}, annotation_text="max_lr")
    exponential = len(rate) > 2 and rate.min() > 0 and rate.max() > 20 * rate.min()
    figure.update_xaxes(type="log" if exponential else "linear")
    figure.update_xaxes(title_text="learning rate", row=len(TEST_PANELS), col=1)
    return finished(figure, height=420)


def phase_plot(rows: pd.DataFrame) -> dict[str, Any]:
    """Draw the trajectory of each layer in the plane of J0 / J and 1 / J, with theory's edge of chaos for tanh.

    Args:
        rows: The table `phase/` of a run.
    """
    figure = go.Figure()
    rows = rows.assign(x=rows["J0"] / rows["J"], y=1 / rows["J"])
    for number, ((layer, name), of_layer) in enumerate(rows.groupby(["layer", "name"], sort=False)):
        label, colour = plain(f"{layer}: {name}"), COLOURS[number % len(COLOURS)]
        hover = "%{customdata[0]}<br>step %{customdata[1]}, epoch %{customdata[2]:.3g}<br>J %{customdata[3]:.4g}"
        known = numbers(of_layer[["step", "epoch", "J"]].to_numpy())
        places: dict[str, Any] = {"x": numbers(of_layer["x"]), "y": numbers(of_layer["y"]), "name": label}
        places |= {"customdata": [[label, *values] for values in known], "line_color": colour}
        places |= {"marker": {"size": [12, *[5] * (len(of_layer) - 1)], "color": colour}}
        figure.add_scatter(**places, mode="lines+markers", hovertemplate=f"{hover}<extra></extra>")
    finite = rows["x"][np.isfinite(rows["x"])]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (-1.0, 1.0)
    ratios = np.linspace(low - 0.15, high + 0.15, 200)
    edge: dict[str, Any] = {"x": numbers(ratios), "y": numbers(boundary(ratios)), "name": "edge of chaos (tanh)"}
    figure.add_scatter(**edge, mode="lines", line={"color": GREY, "dash": "dash"}, hoverinfo="skip")
    axes = {"xaxis_title": "J0 / J", "yaxis_title": "1 / J (order above, chaos below)"}
    return finished(figure, height=420, **axes)
