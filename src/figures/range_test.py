"""Learning rate range tests laid over each other: losses, accuracy and generalization gap against the rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from start_training.analysis.range_curves import (
    is_exponential,
    largest_rates,
    mean_by_rate,
    until_divergence,
    values_by_rate,
)
from start_training.figures import draws
from start_training.figures.axes import finish, handle, panels, shades
from start_training.figures.labels import option_of, range_text, setting_of
from start_training.settings import PositiveInteger, checked

PANELS = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "val_accuracy": "validation accuracy",
    "gap": "generalization gap\nvalidation − training loss",
}
MARKED = 30  # points of a curve that are marked
COLOURS = 10  # of matplotlib's own cycle; more curves than these share out a colour map
Runs = dict[str, list[pd.Series]]  # of each option


@draws("range_test")
@checked
def draw_range_test(
    table: pd.DataFrame, *, by: str | None = None, smooth: PositiveInteger = 1, title: str = ""
) -> Figure:
    """Four panels over one axis of rates; a curve for each value of the column `by`, or else for each configuration.

    Lines: mean over seeds, where all of them have a finite value; thin: each seed. Dashed: the median of max_lr, the
    band its range over seeds. Gap: validation loss − training loss, that one averaged over the steps since the last
    validation. Rates are on a logarithmic axis where the ramp was exponential. What diverges leaves the panels on top.
    Source: Smith 2018 (arXiv:1803.09820), figures 1 to 3.

    Args:
        table: Of `sweep_curves`, kind range_test.
        by: The column that tells curves apart.
        smooth: Steps over which the shown training loss is averaged, which its axis then says.
        title: Above the panels.

    Raises:
        ValueError: the table has no such column, or no rows.
    """
    if table.empty:
        raise ValueError("table = 0 rows: holds no range test")
    curves = {str(option): rows for option, rows in table.groupby(option_of(table, by), sort=False)}
    figure, axes_of = panels(2, 2, size=(9.6, 6.0), sharex=True)
    drawn = {
        name: {option: values_by_rate(rows, name, smooth=smooth) for option, rows in curves.items()} for name in PANELS
    }
    colours = _colours(list(curves))
    for (name, quantity), axes in zip(PANELS.items(), axes_of.flat, strict=True):
        for option, runs in drawn[name].items():
            _draw_option(axes, runs, colours[option])
            _mark_largest_rate(axes, curves[option], colours[option])
        of_steps = f", mean of {smooth} steps" if name == "train_loss" and smooth > 1 else ""
        axes.set(ylabel=quantity + of_steps, ylim=_limits(name, drawn))
    for axes in axes_of[1]:
        rates = table["learning_rate"]
        axes.set_xscale("log" if is_exponential(table) else "linear")
        axes.set(xlim=(rates.min(), rates.max()), xlabel="learning rate")
    return finish(figure, title, _handles(curves, colours), legend_title=setting_of(table, by))


def _draw_option(axes: Axes, runs: Sequence[pd.Series], colour: Any) -> None:
    mean = mean_by_rate(runs)
    marked: dict[str, Any] = {"marker": "o", "ms": 2.5} if len(mean) <= MARKED else {}
    axes.plot(mean.index, mean, "-", color=colour, lw=1.3, zorder=3, **marked)
    for run in runs if len(runs) > 1 else []:
        axes.plot(run.index, run, "-", color=colour, lw=0.5, alpha=0.45, zorder=2)


def _mark_largest_rate(axes: Axes, curves: pd.DataFrame, colour: Any) -> None:
    if rates := largest_rates(curves):
        axes.axvspan(rates["smallest"], rates["largest"], color=colour, alpha=0.13, lw=0, zorder=0)
        axes.axvline(rates["median"], color=colour, lw=1, ls="--", zorder=1)


def _limits(name: str, drawn: Mapping[str, Runs]) -> tuple[float, float]:
    """So that what was learned fills the panel: a loss that blows up, even to 1e10, leaves it on top."""
    runs, losses = ([run for runs in drawn[of].values() for run in runs if len(run)] for of in (name, "val_loss"))
    if name == "val_accuracy":
        best = max((float(run.max()) for run in runs), default=1.0)
        return -0.02 * best, 1.05 * best
    if not runs or not losses:
        return 0.0, 1.0
    top = 1.3 * float(np.median([run.iloc[0] for run in losses]))  # of untrained nets, a typical one
    if name != "gap":
        low = min(float(run.min()) for run in runs)
        return max(0.0, low - 0.1 * (top - low)), top
    usual = [until_divergence(gap, loss).to_numpy() for gap, loss in zip(runs, losses, strict=True)]
    low, high = np.quantile(np.concatenate([[0.0], *usual]), [0.01, 0.99])
    margin = 0.2 * max(high - low, 0.05 * top)
    return float(max(low - margin, -top)), float(min(high + margin, top))


def _colours(options: Sequence[str]) -> dict[str, Any]:
    if len(options) <= COLOURS:
        return {option: f"C{number}" for number, option in enumerate(options)}
    return shades(options, last=0.95)


def _handles(curves: Mapping[str, pd.DataFrame], colours: Mapping[str, Any]) -> list[Any]:
    handles: list[Any] = []
    for option, rows in curves.items():
        rates = largest_rates(rows)
        text = "max_lr {median:.2g} ({smallest:.2g}–{largest:.2g})".format(**rates) if rates else "no max_lr"
        handles.append(handle(f"{option}\n{text}" if option else text, color=colours[option], lw=1.5))
    runs = pd.Series([rows["directory"].nunique() for rows in curves.values()])
    handles.append(handle("one run" if runs.max() == 1 else f"mean of {range_text(runs)} runs", color="0.3", lw=1.3))
    if runs.max() > 1:
        handles.append(handle("each run", color="0.3", lw=0.5, alpha=0.6))
        handles.append(Patch(color="0.3", alpha=0.15, lw=0, label="max_lr, range over runs"))
    return [*handles, handle("max_lr, median", color="0.3", lw=1, ls="--")]
