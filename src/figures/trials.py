"""Trials of a study: range tests and training runs of a search, and training runs of a weight-decay guideline."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from start_training.analysis.range_curves import is_exponential
from start_training.analysis.seed_means import seed_means
from start_training.figures.axes import draw_mean, finish, handle, panels, shades
from start_training.tasks.merit import label_of

LABELS = {"epoch": "epoch", "seconds": "training time, seconds"}
FEW = 10  # largest number of points of a curve that is drawn with markers
ABOVE = 1.15  # upper limit of an axis of losses, relative to the initial loss; diverging curves leave the panel
NARROW = 30  # range of rates, as a ratio, whose axis has ticks between the powers of ten
OF_GUIDELINE = {"J2": "$J^2$", "test/loss": "test loss", "test/accuracy": "test accuracy"}
SETTLED = 0.1  # share of the epochs, at the beginning, that the limits of loss and accuracy do not depend on
HIGHEST_J2 = 1.8  # largest upper limit of the axis of J², which grows further without weight decay


def draw_trials(
    tests: pd.DataFrame,
    runs: pd.DataFrame,
    options: pd.DataFrame,
    *,
    what: str = "",
    title: str = "",
    budget: float | None = None,
    score: str = "val/accuracy",
) -> Figure:
    """Draw the trials of a search: range tests, and validation loss and accuracy of training runs.

    Curves are means over seeds with bands of ± one standard error. Dotted lines in the panel of range tests: the
    largest learning rate of each option, median over seeds. The limits of the axes do not depend on the first fifth of
    a run.

    Args:
        tests: Range tests; columns option, seed, step, learning_rate, val_loss. An empty table draws no panel.
        runs: Training runs; columns option, seed, epoch (from 0), val/loss, val/accuracy, and optionally seconds, which
            is then the horizontal axis.
        options: Columns option and max_lr.
        what: Title of the legend.
        title: Title above the panels.
        budget: Epochs or seconds at which a vertical line is drawn; None draws none.
        score: The metric in the last panel.
    """
    colors = _colors(tests, runs, options)
    tested = int(len(tests) > 0)
    figure, [all_axes] = panels(1, 2 + tested, size=(7.4 + 3.1 * tested, 3.4))
    if tested:
        _draw_tests(all_axes[0], tests, options, colors)
    x = "seconds" if "seconds" in runs else "epoch"
    runs = runs.assign(**{name: np.nan for name in ("val/loss", score) if name not in runs})
    runs = runs.assign(epoch=runs["epoch"] + 1)  # epochs are counted from 0 in the table, from 1 in the figure
    for axes, metric in zip(all_axes[-2:], ("val/loss", score), strict=True):
        for option, of_option in runs.groupby("option", sort=False):
            _draw_option(axes, seed_means(of_option, metric, key="epoch", x=x), colors[str(option)])
        axes.set(xlabel=LABELS[x], ylabel=_validation(metric))
        axes.set_xlim(left=0)
        if budget is not None:
            axes.axvline(budget, color="0.6", lw=0.8, zorder=0)
            place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
            axes.annotate("budget", (budget, 1), (3, -2), fontsize=7, **place)
    settled = runs[runs["epoch"] > runs.groupby("option")["epoch"].transform("max") / 5]
    last = runs.groupby(["option", "seed"]).last()
    ends = last["val/loss"][np.isfinite(last["val/loss"])].max()
    _fit_loss(all_axes[-2], settled["val/loss"], pd.Series([np.fmax(settled["val/loss"].quantile(0.98), ends)]))
    scores = settled[score][np.isfinite(settled[score])]
    if len(scores):  # a score such as R² has no lower limit
        all_axes[-1].set_ylim(bottom=min(float(scores.quantile(0.02)), float(last[score].min())) - 0.02)
    if score == "val/accuracy":
        all_axes[-1].yaxis.set_major_formatter(PercentFormatter(1.0))
    handles = [handle(name, color=color) for name, color in colors.items()]
    handles += [handle("largest usable rate (median)", color="0.4", lw=0.8, ls=":")] * tested
    return finish(figure, title, handles, legend_title=what)


def _validation(metric: str) -> str:
    stage, _, name = metric.partition("/")
    return f"validation {label_of(name)}" if stage == "val" else metric


def draw_guideline(curves: pd.DataFrame, predicted: pd.DataFrame, options: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw J², test loss and test accuracy against epochs for several weight decays, mean over seeds ± standard error.

    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the figure of weight decays.

    Args:
        curves: Measurements; columns option, seed, epoch, J2, test/loss, test/accuracy.
        predicted: J² predicted by dJ²/dt = A − r J², drawn dashed; columns option, epoch, J2.
        options: Columns option and weight_decay, in the order of the legend.
        title: Title above the panels.
    """
    figure, [all_axes] = panels(1, 3, size=(11.0, 3.4))
    colors = shades(list(options["option"]))
    last = curves["epoch"].max()
    for axes, (column, quantity) in zip(all_axes, OF_GUIDELINE.items(), strict=True):
        for option, of_option in curves.groupby("option", sort=False):
            means = seed_means(of_option, column, key="epoch")
            draw_mean(axes, means["x"], means["mean"], means["error"], color=colors[str(option)], lw=1.2)
        axes.set(xlabel="epoch", ylabel=quantity, xlim=(0, last))
        late = curves[curves["epoch"] >= SETTLED * last][column]
        margin = 0.05 * (late.max() - late.min())
        if margin > 0:
            axes.set_ylim(late.min() - margin, late.max() + margin)
    for option, of_option in predicted.groupby("option", sort=False):
        all_axes[0].plot(of_option["epoch"], of_option["J2"], color=colors[str(option)], lw=1, ls="--")
    all_axes[0].axhline(1, color="0.6", lw=0.8, zorder=0)
    all_axes[0].set_ylim(0, min(1.05 * curves["J2"].max(), HIGHEST_J2))
    all_axes[2].yaxis.set_major_formatter(PercentFormatter(1.0))
    decays = zip(options["option"], options["weight_decay"], strict=True)
    handles = [handle(f"{option} ({decay:.3g})", color=colors[option]) for option, decay in decays]
    handles.append(handle("prediction, $dJ^2/dt = A - r J^2$", color="0.4", lw=1, ls="--"))
    return finish(figure, title, [*handles, handle("edge of chaos, $J^2$ = 1", color="0.6", lw=0.8)])


def _colors(tests: pd.DataFrame, runs: pd.DataFrame, options: pd.DataFrame) -> dict[str, Any]:
    """Assign a colour to each option.

    If range tests and training runs have no option in common, the options of range tests are shaded, and the first
    option of the training runs is black.
    """
    names = [str(name) for name in options["option"]]
    tested, run = (set(rows["option"]) if "option" in rows else set() for rows in (tests, runs))
    shaded = shades([name for name in names if name in tested] if not tested & run else [])
    others = [name for name in names if name not in shaded]
    return shaded | {name: f"C{number}" if not shaded or number else "black" for number, name in enumerate(others)}


def _draw_tests(axes: Axes, tests: pd.DataFrame, options: pd.DataFrame, colors: Mapping[str, Any]) -> None:
    validated = tests.dropna(subset=["val_loss"])
    for option, of_option in validated.groupby("option", sort=False):
        _draw_option(axes, seed_means(of_option, "val_loss", key="step", x="learning_rate"), colors[str(option)])
    for _, row in options.dropna(subset=["max_lr"]).iterrows():
        axes.axvline(row["max_lr"], color=colors[row["option"]], lw=0.8, ls=":")
    losses = validated["val_loss"]
    _fit_loss(axes, losses, losses[validated["step"] == validated["step"].min()])
    by_test = tests.assign(directory=tests["option"] + tests["seed"].astype(str))
    low, high = _learning_rates(validated, options["max_lr"].max())
    if is_exponential(by_test):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        if high < NARROW * low:
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set(xlabel="learning rate of a range test", ylabel="validation loss")
    axes.set_xlim(low, high)


def _learning_rates(validated: pd.DataFrame, max_lr: float) -> tuple[float, float]:
    """Choose the limits of the learning rate axis.

    Returns:
        Half of the smallest rate at which a validation loss has fallen by a tenth, and 20 times the largest usable
        rate, both within the rates of the tests.
    """
    rates = validated["learning_rate"]
    first = validated.groupby(["option", "seed"])["val_loss"].transform("first")
    falling = rates[validated["val_loss"] < 0.9 * first]
    low = max(rates.min(), falling.min() / 2) if len(falling) else rates.min()
    high = min(rates.max(), 20 * max_lr) if np.isfinite(max_lr) else rates.max()
    return float(low), float(max(high, low * 1.01))


def _draw_option(axes: Axes, means: pd.DataFrame, color: Any) -> None:
    marker = "o" if len(means) <= FEW else None
    draw_mean(axes, means["x"], means["mean"], means["error"], color=color, lw=1.2, marker=marker, ms=3)


def _fit_loss(axes: Axes, losses: pd.Series, first: pd.Series) -> None:
    """Set the limits of an axis of losses: from the lowest one to `ABOVE` times the mean of the losses in `first`."""
    finite, first = losses[np.isfinite(losses)], first[np.isfinite(first)]
    if len(first) and len(finite):
        low, high = float(finite.min()), float(first.mean()) * ABOVE
        axes.set_ylim(low - 0.05 * (high - low), max(high, low + 1e-6))
    axes.yaxis.set_major_locator(MaxNLocator(6))
