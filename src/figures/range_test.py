"""Learning rate range tests laid over each other: losses, accuracy and generalization gap against the rate."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from start_training.figures.labels import label
from start_training.schedules.rate_suggestion import spread
from start_training.settings import positive_integer

Array = NDArray[np.float64]
TABLE = "range_test"  # of `start_training.analysis.sweep_curves.sweep_curves`, which the figure is drawn from
PANELS = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "val_accuracy": "validation accuracy",
    "gap": "generalization gap",
}
MARKED = 30  # points of a curve that are marked
COLOURS = 10  # of matplotlib's own cycle; more curves than these share out a colour map


def draw_range_test(table: pd.DataFrame, *, by: str | None = None, smooth: int = 1, title: str = "") -> Figure:
    """Four panels over one axis of rates; a curve for each value of the column `by`, or else for each configuration.

    Lines: mean over seeds, where all of them have a finite value; thin: each seed. Dashed: the median of max_lr, the
    band its range over seeds. Gap: validation loss − training loss, that one averaged over the steps since the last
    validation. smooth: steps over which the shown training loss is averaged, which the axis then says. Rates are on
    a logarithmic axis where the ramp was exponential. What diverges leaves the panels on top.
    Source: Smith 2018 (arXiv:1803.09820), figures 1 to 3.
    Raises ValueError for a column that the table does not have, or a table without rows.
    """
    positive_integer("smooth", smooth)
    if table.empty:
        raise ValueError("table = 0 rows: holds no range test")
    curves = table.assign(option=option_of(table, by))
    options = list(dict.fromkeys(curves["option"]))
    figure = Figure(figsize=(9.6, 6.0), layout="constrained")
    panels = dict(zip(PANELS, figure.subplots(2, 2, sharex=True).flat, strict=True))
    drawn = {name: [_runs(curves[curves["option"] == option], name, smooth) for option in options] for name in PANELS}
    for name, axes in panels.items():
        for runs, colour in zip(drawn[name], _colours(len(options)), strict=True):
            _draw_option(axes, runs, colour)
        axes.set_ylabel(_quantity(name, smooth))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(*_limits(name, drawn))
    for option, colour in zip(options, _colours(len(options)), strict=True):
        _mark(panels.values(), curves[curves["option"] == option], colour)
    _rates(list(panels.values())[2:], curves)
    handles = _legend(curves, options, _colours(len(options)))
    figure.legend(
        handles=handles,
        loc="outside right upper",
        frameon=False,
        fontsize=8,
        title=setting_of(table, by),
        alignment="left",
    )
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")  # a legend on the right knows nothing of it
    return figure


def setting_of(table: pd.DataFrame, by: str | None) -> str | None:
    """The column that tells curves apart: `by`, or else the one setting that varies; None where several do, or none."""
    keys = {word.partition("=")[0].lstrip("+") for varied in table["varied"].unique() for word in varied.split(" ")}
    [only, *others] = keys or {""}
    return by if by is not None or others or only not in table else only


def option_of(table: pd.DataFrame, by: str | None) -> pd.Series:
    """Of each row the curve it belongs to, as the legend names it. Raises ValueError where there is no column `by`."""
    by = setting_of(table, by)
    if by is None:
        return table["varied"].map(_short)
    if by not in table:
        raise ValueError(f"by = {by}: no column of the sweep's table; there are {', '.join(map(str, table))}")
    return table[by].map(_value)


def _short(varied: str) -> str:
    """`optimizer.weight_decay=0.001 initializer=he_normal depth=5` as `weight_decay 0.001, He normal, depth 5`."""
    words = (word.partition("=") for word in varied.split(" ") if word)
    return ", ".join(
        label(value) if _is_option(key, value) else f"{key.rpartition('.')[2]} {value}" for key, _, value in words
    )


def _is_option(key: str, value: str) -> bool:
    """Of a config group, whose names need no key beside them."""
    return "." not in key and not value[:1].isdigit()


def _value(value: Any) -> str:
    if pd.isna(value):
        return "default"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else label(value)


def _runs(curves: pd.DataFrame, name: str, smooth: int) -> list[pd.Series]:
    """Of each run its values by learning rate; those that are not finite are left out."""
    found = []
    for _, rows in curves.groupby("directory", sort=False):
        rows = rows.set_index("learning_rate").sort_values("step")
        values = _gap(rows) if name == "gap" else rows[name].astype(float)
        if name == "train_loss" and smooth > 1:
            values = values.rolling(smooth, center=True, min_periods=1).mean()
        found.append(values[np.isfinite(values)])
    return found


def _gap(rows: pd.DataFrame) -> pd.Series:
    """Validation loss minus the mean training loss of the steps since the last validation."""
    validated = rows["val_loss"].notna()
    interval = validated.shift(fill_value=False).cumsum()
    train = rows["train_loss"].groupby(interval.to_numpy()).transform("mean")
    return (rows["val_loss"] - train)[validated]


def _draw_option(axes: Axes, runs: Sequence[pd.Series], colour: Any) -> None:
    mean = _mean(runs)
    style: dict[str, Any] = {"marker": "o", "ms": 2.5} if len(mean) <= MARKED else {}
    axes.plot(mean.index, mean, "-", color=colour, lw=1.3, zorder=3, **style)
    for run in runs if len(runs) > 1 else []:
        axes.plot(run.index, run, "-", color=colour, lw=0.5, alpha=0.45, zorder=2)


def _mean(runs: Sequence[pd.Series]) -> pd.Series:
    """Over runs, at the rates that all of them have a value at: where one has ended, a mean would jump."""
    return pd.concat(runs, axis=1).sort_index().dropna().mean(axis=1)


def _mark(panels: Any, curves: pd.DataFrame, colour: Any) -> None:
    low, median, high = largest_rates(curves)
    for axes in panels if np.isfinite(median) else []:
        axes.axvspan(low, high, color=colour, alpha=0.13, lw=0, zorder=0)
        axes.axvline(median, color=colour, lw=1, ls="--", zorder=1)


def largest_rates(curves: pd.DataFrame) -> tuple[float, float, float]:
    """Smallest, median and largest max_lr over runs; NaN where none has found one."""
    rates = curves.groupby("directory")["max_lr"].first().dropna() if "max_lr" in curves else pd.Series(dtype=float)
    if rates.empty:
        return np.nan, np.nan, np.nan
    over = spread(rates.to_list())
    return over["smallest"], over["median"], over["largest"]


def _limits(name: str, drawn: dict[str, list[list[pd.Series]]]) -> tuple[float, float]:
    """So that what was learned fills the panel: a loss that blows up, even to 1e10, leaves it on top."""
    runs = [run for option in drawn[name] for run in option if len(run)]
    if name == "val_accuracy":
        best = max((float(run.max()) for run in runs), default=1.0)
        return -0.02 * best, 1.05 * best
    losses = [run for option in drawn["val_loss"] for run in option if len(run)]
    if not runs or not losses:
        return 0.0, 1.0
    top = 1.3 * float(np.median([run.iloc[0] for run in losses]))  # of untrained nets, a typical one
    if name != "gap":
        low = min(float(run.min()) for run in runs)
        return max(0.0, low - 0.1 * (top - low)), top
    usual = [gap[(loss <= loss.iloc[0]).cummin()] for gap, loss in zip(runs, losses, strict=True)]  # until it diverges
    low, high = np.quantile(np.concatenate([[0.0], *(gap.to_numpy() for gap in usual)]), [0.01, 0.99])
    margin = 0.2 * max(high - low, 0.05 * top)
    return float(max(low - margin, -top)), float(min(high + margin, top))


def _rates(lower: Sequence[Axes], curves: pd.DataFrame) -> None:
    rates = curves["learning_rate"]
    for axes in lower:
        axes.set_xscale("log" if exponential(curves) else "linear")
        axes.set_xlim(rates.min(), rates.max())
        axes.set_xlabel("learning rate")


def exponential(curves: pd.DataFrame) -> bool:
    """Whether the rate in the middle of a ramp is nearer to the geometric mean of its ends than to the other one."""
    rates = max((rows["learning_rate"].to_numpy() for _, rows in curves.groupby("directory")), key=len)
    middle = rates[len(rates) // 2]
    return bool(abs(middle - np.sqrt(rates[0] * rates[-1])) < abs(middle - (rates[0] + rates[-1]) / 2))


def _quantity(name: str, smooth: int) -> str:
    if name == "train_loss" and smooth > 1:
        return f"training loss, mean of {smooth} steps"
    return PANELS[name] + ("\nvalidation − training loss" if name == "gap" else "")


def _colours(count: int) -> list[Any]:
    if count <= COLOURS:
        return [f"C{number}" for number in range(count)]
    return list(colormaps["viridis"](np.linspace(0, 0.95, count)))


def _legend(curves: pd.DataFrame, options: Sequence[str], colours: Sequence[Any]) -> list[Any]:
    handles: list[Any] = []
    for option, colour in zip(options, colours, strict=True):
        low, median, high = largest_rates(curves[curves["option"] == option])
        rate = f"max_lr {median:.2g} ({low:.2g}–{high:.2g})" if np.isfinite(median) else "no max_lr"
        handles.append(Line2D([], [], color=colour, lw=1.5, label=f"{option}\n{rate}" if option else rate))
    seeds = curves.groupby("option")["directory"].nunique()
    count = f"{seeds.max()}" if seeds.min() == seeds.max() else f"{seeds.min()}–{seeds.max()}"
    handles.append(Line2D([], [], color="0.3", lw=1.3, label="one run" if count == "1" else f"mean of {count} runs"))
    if seeds.max() > 1:
        handles.append(Line2D([], [], color="0.3", lw=0.5, alpha=0.6, label="each run"))
        handles.append(Patch(color="0.3", alpha=0.15, lw=0, label="max_lr, range over runs"))
    handles.append(Line2D([], [], color="0.3", lw=1, ls="--", label="max_lr, median"))
    return handles
