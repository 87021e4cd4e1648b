"""The alternatives of a search: their range tests beside their runs, a colour for each."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from start_training.figures.range_test import exponential

LABELS = {"epoch": "epoch", "seconds": "training time, seconds"}
FEW = 10  # points, which are marked
ABOVE = 1.15  # of the loss at the left end, where the axis ends: what diverges leaves it


def draw_trials(
    tests: pd.DataFrame,
    runs: pd.DataFrame,
    options: pd.DataFrame,
    *,
    what: str = "",
    title: str = "",
    budget: float | None = None,
) -> Figure:
    """Validation loss against learning rate in range tests; validation loss and accuracy of the runs.

    Tables of studies/trials.py: `tests` and `runs` have the columns option and seed. Curves: mean over seeds, band ±
    one standard error. Vertical lines: the largest rate of each option, median over seeds. Runs are drawn against
    `seconds` where that is a column, else against epochs. budget: a line at that epoch. Axes fit what comes after the
    first fifth of a run.
    """
    colors = _colors(tests, runs, options)
    figure = Figure(figsize=(10.5 if len(tests) else 7.4, 3.4), layout="constrained")
    panels = list(figure.subplots(1, 3 if len(tests) else 2))
    if len(tests):
        _draw_tests(panels[0], tests, options, colors)
    x = "seconds" if "seconds" in runs else "epoch"
    runs = runs.assign(epoch=runs["epoch"] + 1)  # they are counted from 0
    for axes, metric in zip(panels[-2:], ("val/loss", "val/accuracy"), strict=True):
        for option, of_option in runs.groupby("option", sort=False):
            _draw_mean(axes, of_option, x, metric, colors[str(option)])
        axes.set_xlabel(LABELS[x])
        axes.set_ylabel(metric.replace("val/", "validation "))
        axes.set_xlim(left=0)
        if budget is not None:
            axes.axvline(budget, color="0.6", lw=0.8, zorder=0)
            place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
            axes.annotate("budget", (budget, 1), (3, -2), fontsize=7, **place)
    settled = runs[runs["epoch"] > runs.groupby("option")["epoch"].transform("max") / 5]
    last = runs.groupby(["option", "seed"]).last()
    ends = last["val/loss"][np.isfinite(last["val/loss"])].max()
    _fit_loss(panels[-2], settled["val/loss"], pd.Series([np.fmax(settled["val/loss"].quantile(0.98), ends)]))
    lowest = min(float(settled["val/accuracy"].quantile(0.02)), float(last["val/accuracy"].min()))
    panels[-1].set_ylim(bottom=lowest - 0.02)
    panels[-1].yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=color, label=name) for name, color in colors.items()]
    if len(tests):
        handles.append(Line2D([], [], color="0.4", lw=0.8, ls=":", label="largest rate, median"))
    figure.legend(handles=handles, title=what, loc="outside right upper", frameon=False, fontsize=8, title_fontsize=8)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def _colors(tests: pd.DataFrame, runs: pd.DataFrame, options: pd.DataFrame) -> dict[str, Any]:
    """A colour for each option; where range tests are of other options than runs, they shade into each other.

    Then black is the first of those that are run.
    """
    names = [str(name) for name in options["option"]]
    tested, run = (set(rows["option"]) if "option" in rows else set() for rows in (tests, runs))
    apart = [name for name in names if name in tested] if not tested & run else []
    shades = dict(zip(apart, colormaps["viridis"](np.linspace(0, 0.9, len(apart))), strict=True))
    others = [name for name in names if name not in shades]
    return shades | {name: f"C{number}" if not shades or number else "black" for number, name in enumerate(others)}


def _draw_tests(axes: Axes, tests: pd.DataFrame, options: pd.DataFrame, colors: Mapping[str, Any]) -> None:
    looked = tests.dropna(subset=["val_loss"])
    for option, of_option in looked.groupby("option", sort=False):
        _draw_mean(axes, of_option, "learning_rate", "val_loss", colors[str(option)])
    for _, row in options.dropna(subset=["max_lr"]).iterrows():
        axes.axvline(row["max_lr"], color=colors[row["option"]], lw=0.8, ls=":")
    _fit_loss(axes, looked["val_loss"], looked.loc[looked["step"] == looked["step"].min(), "val_loss"])
    each = tests.assign(directory=tests["option"] + tests["seed"].astype(str))
    axes.set_xscale("log" if exponential(each) else "linear")
    axes.set_xlim(_where_something_happens(looked, options["max_lr"].max()))
    axes.set_xlabel("learning rate of a range test")
    axes.set_ylabel("validation loss")


def _where_something_happens(looked: pd.DataFrame, max_lr: float) -> tuple[float, float]:
    """From half the rate at which validation loss has begun to fall to well beyond the largest usable one."""
    rates = looked["learning_rate"]
    first = looked.groupby(["option", "seed"])["val_loss"].transform("first")
    falling = rates[looked["val_loss"] < 0.9 * first]
    low = max(rates.min(), falling.min() / 2) if len(falling) else rates.min()
    high = min(rates.max(), 20 * max_lr) if np.isfinite(max_lr) else rates.max()
    return float(low), float(max(high, low * 1.01))


def _draw_mean(axes: Axes, rows: pd.DataFrame, x: str, y: str, color: Any) -> None:
    """Over seeds, at those x that all of them reached: the mean of the survivors would flatter."""
    key = "step" if x == "learning_rate" else "epoch"
    finite = rows[np.isfinite(rows[y])]
    by_place = finite.groupby(key).agg(x=(x, "mean"), mean=(y, "mean"), error=(y, "sem"), seeds=(y, "size"))
    curve = by_place[by_place["seeds"] == rows["seed"].nunique()]
    axes.plot(curve["x"], curve["mean"], color=color, lw=1.2, marker="o" if len(curve) <= FEW else None, ms=3)
    error = curve["error"].fillna(0.0)
    axes.fill_between(curve["x"], curve["mean"] - error, curve["mean"] + error, color=color, alpha=0.2, lw=0)


def _fit_loss(axes: Axes, losses: pd.Series, first: pd.Series) -> None:
    finite, first = losses[np.isfinite(losses)], first[np.isfinite(first)]
    if len(first) and len(finite):
        low, high = float(finite.min()), float(first.mean()) * ABOVE
        axes.set_ylim(low - 0.05 * (high - low), max(high, low + 1e-6))
    axes.yaxis.set_major_locator(MaxNLocator(6))
