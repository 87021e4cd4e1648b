"""Interactive figures of the training of a run: metrics, rates, its range test, and the phases of its layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from start_training.analysis.step_columns import step_columns
from start_training.reports.pages.plots import COLOURS, GREY, Plot, figure, lines, numbers, plain, stacked
from start_training.schedules.rates.range_table import score_column
from start_training.tasks.merit import label_of
from start_training.theory.edge_of_chaos import boundary

# Panels by the unit on their axis, with the columns that each may show: of metrics.csv, then of the tables by step.
# Between the loss and the rates stand those of the other metrics of the run.
LOSS = {"loss": ("train/loss", "val/loss", "test/loss", "loss")}
RATES = {"learning rate": ("learning_rate",), "momentum": ("momentum",)}
STAGES = ("train", "val", "test")
# Columns that have figures of their own.
OF_LENGTHS = ("lengths", "updates", "growth_rate", "layer_variance", "first_nonfinite_layer")
MOST_PANELS = 10  # of other metrics than the loss
# Name, colour and marker of the curves, by the part of the column before the slash.
CURVES: dict[str, tuple[str, str, str]] = {
    "loss": ("training, each step", GREY, "circle"),
    "train": ("training, mean of an epoch", COLOURS[0], "circle"),
    "val": ("validation", COLOURS[1], "square"),
    "test": ("test", COLOURS[2], "diamond"),
}


def metric_panels(columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the columns of metrics.csv that share a panel, by the unit on its axis, for metrics other than the loss.

    A metric of training, validation and test shares a panel, whether it is called `val/name` or `name/val`. Of more
    than `MOST_PANELS` metrics, the first are drawn; metrics.csv has all.

    Args:
        columns: The columns of metrics.csv.

    Example:
        >>> metric_panels(["step", "epoch", "train/loss", "val/r2", "test/r2", "gan/train", "gan/val", "fid"])
        {'r2': ('val/r2', 'test/r2'), 'gan': ('gan/train', 'gan/val'), 'fid': ('fid',)}
    """
    others = {"step", "epoch", *(name for panel in (LOSS | RATES).values() for name in panel)}
    panels: dict[str, tuple[str, ...]] = {}
    for name in columns:
        if name not in others and name.split("/")[0] not in OF_LENGTHS:
            unit = _parts(name)[0]
            panels[unit] = (*panels.get(unit, ()), name)
    return dict([*panels.items()][:MOST_PANELS])


def _parts(name: str) -> tuple[str, str]:
    """Return the unit and the stage of a metric; the stage is empty if its name states none."""
    head, _, tail = name.partition("/")
    return (tail, head) if head in STAGES else (head, tail) if tail in STAGES else (name, "")


def training_plot(
    metrics: pd.DataFrame, steps: pd.DataFrame | None, settings: pd.DataFrame | None, *, most_points: int
) -> Plot | None:
    """Draw the metrics, learning rate and momentum against the step; None if nothing was recorded.

    Args:
        metrics: The rows of metrics.csv.
        steps: The table `steps/`, for the training loss of each step.
        settings: The table `hyperparameters/`; without it the learning rate of `steps` or `metrics` is drawn.
        most_points: Most points of a curve by step; each is the mean of neighbouring steps.
    """
    known = LOSS | metric_panels([*metrics]) | RATES
    curves = _curves([name for names in known.values() for name in names], metrics, steps, settings, most_points)
    panels = {unit: [name for name in names if name in curves] for unit, names in known.items()}
    panels = {unit: names for unit, names in panels.items() if names}
    if not panels:
        return None
    first = next(iter(panels))
    drawn = {
        plain(label_of(unit)): [_curve(name, unit, curves[name], showlegend=unit == first) for name in names]
        for unit, names in panels.items()
    }
    from_zero: dict[str, Any] = {"rangemode": "tozero"}
    axis = {"title": {"text": "training step"}}
    return stacked(drawn, axis, learning_rate=from_zero, momentum=from_zero)


def _curve(name: str, unit: str, values: "pd.Series[Any]", *, showlegend: bool) -> dict[str, Any]:
    by_step = name in ("loss", *RATES["learning rate"], *RATES["momentum"])
    unit = plain(label_of(unit))
    label, colour, symbol = CURVES.get(name if by_step else _parts(name)[1], (unit, COLOURS[0], "circle"))
    mode = "lines" if by_step else "markers" if symbol == "diamond" else "lines+markers"
    marker = {"size": 10 if mode == "markers" else 5, "color": colour, "symbol": symbol}
    line = {"width": 1 if colour == GREY else 2}
    hover = f"step %{{x}}<br>{label} {unit if unit != label and not by_step else ''} %{{y:.5g}}"
    style: dict[str, Any] = {"mode": mode, "marker": marker, "line": line, "name": label}
    x, y = numbers(values.index, 9), numbers(values.to_numpy())
    return lines(x, y, colour, hover, showlegend=showlegend, **style)


def _curves(
    known: Sequence[str],
    metrics: pd.DataFrame,
    steps: pd.DataFrame | None,
    settings: pd.DataFrame | None,
    most: int,
) -> "dict[str, pd.Series[Any]]":
    """Return the values of each column that was recorded, by step."""
    curves = {}
    for source, names in ((metrics, known), (steps, LOSS["loss"]), (settings, ("learning_rate", "momentum"))):
        for name in names:
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


def range_test_plot(rows: pd.DataFrame, max_lr: float | None) -> Plot:
    """Draw loss and score of a learning rate range test against the learning rate.

    Args:
        rows: The table `range_test/` of a run.
        max_lr: The suggested largest rate; None if the test has not ended.
    """
    rate, panels, score = rows["learning_rate"], {}, score_column(rows)
    shown = {"loss": ("train_loss", "val_loss"), label_of(score.removeprefix("val_")): (score,)}
    for unit, names in shown.items():
        curves = []
        for name in names:
            _, colour, _ = CURVES[name.partition("_")[0]]
            known = rows[np.isfinite(rows[name].astype(float))]
            x, y = numbers(known["learning_rate"]), numbers(known[name])
            label = {"train_loss": "training, each step"}.get(name, "validation")
            hover = f"learning rate %{{x:.3g}}, step %{{customdata}}<br>{label} {unit} %{{y:.4g}}"
            curves.append(
                lines(x, y, colour, hover, customdata=known["step"].tolist(), name=label, showlegend=unit == "loss")
            )
        panels[unit] = curves
    exponential = len(rate) > 2 and rate.min() > 0 and rate.max() > 20 * rate.min()
    plot = stacked(panels, {"title": {"text": "learning rate"}, "type": "log" if exponential else "linear"})
    if max_lr is not None and np.isfinite(max_lr):
        where: dict[str, Any] = {"x0": max_lr, "x1": max_lr, "y0": 0, "y1": 1, "xref": "x", "yref": "paper"}
        text = {"text": f"max_lr {max_lr:.3g}", "textposition": "end", "textangle": 0}
        plot["layout"]["shapes"] = [{"type": "line", **where, "line": {"color": GREY, "dash": "dash"}, "label": text}]
    return plot


def phase_plot(rows: pd.DataFrame) -> Plot:
    """Draw the trajectory of each layer in the plane of J0 / J and 1 / J, with theory's edge of chaos for tanh.

    Args:
        rows: The table `phase/` of a run.
    """
    traces, rows = [], rows.assign(x=rows["J0"] / rows["J"], y=1 / rows["J"])
    for number, ((layer, name), of_layer) in enumerate(rows.groupby(["layer", "name"], sort=False)):
        label, colour = plain(f"{layer}: {name}"), COLOURS[number % len(COLOURS)]
        hover = "%{customdata[0]}<br>step %{customdata[1]}, epoch %{customdata[2]:.3g}<br>J %{customdata[3]:.4g}"
        known = numbers(of_layer[["step", "epoch", "J"]].to_numpy(), 9)
        marker = {"size": [12, *[5] * (len(of_layer) - 1)], "color": colour}  # the first, at initialization, is large
        marks: dict[str, Any] = {"mode": "lines+markers", "marker": marker, "name": label, "showlegend": True}
        x, y = numbers(of_layer["x"]), numbers(of_layer["y"])
        traces.append(lines(x, y, colour, hover, customdata=[[label, *values] for values in known], **marks))
    finite = rows["x"][np.isfinite(rows["x"])]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (-1.0, 1.0)
    ratios = np.linspace(low - 0.15, high + 0.15, 200)
    dashed: dict[str, Any] = {"line": {"dash": "dash"}, "hoverinfo": "skip", "name": "edge of chaos (theory for tanh)"}
    traces.append({**lines(numbers(ratios), numbers(boundary(ratios)), GREY, "", **dashed), "hovertemplate": None})
    axes = {"x": "J0 / J", "y": "1 / J (order above, chaos below)"}
    return figure(traces, height=420, **{f"{name}axis": {"title": {"text": title}} for name, title in axes.items()})
