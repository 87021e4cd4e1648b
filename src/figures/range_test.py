"""Curves of learning rate range tests: losses, accuracy and generalization gap against the learning rate."""

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
from start_training.schedules.rates.range_table import recorded_columns, score_column
from start_training.settings import PositiveInteger, checked
from start_training.tasks.merit import label_of

MARKED = 30  # largest number of points of a curve that is drawn with markers
COLOURS = 10  # number of curves up to which matplotlib's colour cycle is used; more curves are shaded
Runs = dict[str, list[pd.Series]]  # for each option, the curves of its runs by learning rate


@draws("range_test")
@checked
def draw_range_test(
    table: pd.DataFrame, *, by: str | None = None, smooth: PositiveInteger = 1, title: str = ""
) -> Figure:
    """Draw training loss, validation loss, validation accuracy and generalization gap against the learning rate.

    In place of the accuracy the score of another task is drawn, such as R².

    Lines: mean over seeds at learning rates where every seed has a finite value; thin lines: each seed. Dashed: the
    median of max_lr, with a band from its smallest to its largest value over seeds. The generalization gap is the
    validation loss minus the training loss, averaged over the steps since the previous validation. The horizontal axis
    is logarithmic if the ramp is exponential. Losses that diverge leave the panels at the top.
    Source: Smith 2018 (arXiv:1803.09820), figures 1 to 3.

    Args:
        table: Result of `sweep_curves` with kind `range_test`.
        by: Column whose values distinguish the curves; None uses the settings that vary.
        smooth: Number of steps over which the training loss is averaged.
        title: Title above the panels.

    Raises:
        ValueError: the table has no column `by` or no rows, or `smooth` is not a positive integer.
    """
    if table.empty:
        raise ValueError("table: holds no steps of a range test; train with callbacks=range_test")
    curves = {str(option): rows for option, rows in table.groupby(option_of(table, by), sort=False)}
    figure, axes_of = panels(2, 2, size=(9.6, 6.0), sharex=True)
    named = _panels(table)
    drawn = {
        name: {option: values_by_rate(rows, name, smooth=smooth) for option, rows in curves.items()} for name in named
    }
    colours = _colours(list(curves))
    for (name, quantity), axes in zip(named.items(), axes_of.flat, strict=True):
        for option, runs in drawn[name].items():
            _draw_option(axes, runs, colours[option])
            _mark_largest_rate(axes, curves[option], colours[option])
        averaged = f", mean of {smooth} steps" if name == "train_loss" and smooth > 1 else ""
        axes.set(ylabel=quantity + averaged, ylim=_limits(name, drawn))
    for axes in axes_of[1]:
        rates = table["learning_rate"]
        axes.set_xscale("log" if is_exponential(table) else "linear")
        axes.set(xlim=(rates.min(), rates.max()), xlabel="learning rate")
    return finish(figure, title, _handles(curves, colours), legend_title=setting_of(table, by))


def _panels(table: pd.DataFrame) -> dict[str, str]:
    """Return the drawn columns with their names."""
    score = score_column(recorded_columns(table))
    return {
        "train_loss": "training loss",
        "val_loss": "validation loss",
        score: f"validation {label_of(score.removeprefix('val_'))}",
        "gap": "generalization gap\nvalidation − training loss",
    }


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
    """Choose the vertical limits of a panel from the range before divergence; a diverging loss leaves it at the top."""
    runs, losses = ([run for runs in drawn[of].values() for run in runs if len(run)] for of in (name, "val_loss"))
    if name not in ("train_loss", "val_loss", "gap"):
        best = max((float(run.max()) for run in runs if len(run)), default=1.0)
        best = best if best > 0 else 1.0
        return -0.02 * best, 1.05 * best
    if not runs or not losses:
        return 0.0, 1.0
    top = 1.3 * float(np.median([run.iloc[0] for run in losses]))  # 1.3 times the typical loss of an untrained net
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
        handles.append(Patch(color="0.3", alpha=0.15, lw=0, label="range of max_lr over runs"))
    return [*handles, handle("median of max_lr", color="0.3", lw=1, ls="--")]
