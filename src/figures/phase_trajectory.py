"""The way of a layer through the plane of phases while its net trains, and how well the net does on the way."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from start_training.analysis.phase_curves import lowest_and_last, mean_curves, watched
from start_training.figures.colours import colours
from start_training.figures.phase_slope import STAR, seeds_in_words
from start_training.figures.range_test import option_of, setting_of
from start_training.standard_error import mean_and_error
from start_training.theory.edge_of_chaos import boundary, chi

TABLE = "phase"  # of `start_training.analysis.sweep_curves.sweep_curves`, which the figure is drawn from
AGAINST_J = {
    "lyapunov": "Lyapunov exponent (nats)",
    "test/loss": "test loss",
    "test/accuracy": "test accuracy",
}
GRID = 32  # points along each side of the background
DEEPEST = 1.0  # ½ log χ at which its colours end
START: dict[str, Any] = {"marker": "o", "ms": 4.5, "ls": "", "mfc": "white", "zorder": 4}


def draw_phase_trajectory(
    table: pd.DataFrame, *, by: str | None = None, layer: int | None = None, title: str = ""
) -> Figure:
    """1/J against J0/J during training over theory's phases; against J the Lyapunov exponent, test loss and accuracy.

    A curve for each value of `by`: mean over seeds, thin each seed. Circles: initialization; stars: the lowest test
    loss of each run. Background: ½ log χ of theory, the Lyapunov exponent in nats per iteration, of a wide layer of
    tanh units with such weights if they were independent; black: its edge, χ = 1. Beside it the measured exponent of
    the trained layer's own map, and in black ½ log χ at J0 = 0; dashed: J = 1.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), trajectories over the phase diagram.
    Raises ValueError for a column or layer that the table does not have, or a table without phases.
    """
    rows = watched(table, layer)
    rows = rows.assign(option=option_of(rows, by), x=rows["J0"] / rows["J"], y=1 / rows["J"])
    palette = colours(list(dict.fromkeys(rows["option"])))
    figure = Figure(figsize=(14, 3.8), layout="constrained")
    plane, *others = figure.subplots(1, 4, width_ratios=[1.2, 1, 1, 1])
    _draw_phases(figure, plane, rows)
    for option, colour in palette.items():
        of_option = rows[rows["option"] == option]
        _draw_curves(plane, of_option, "x", "y", colour)
        for axes, column in zip(others, AGAINST_J, strict=True):
            _draw_curves(axes, of_option, "J", column, colour)
    _decorate(plane, others, rows)
    legend: dict[str, Any] = {"loc": "outside right upper", "frameon": False, "fontsize": 8, "alignment": "left"}
    figure.legend(handles=_legend(palette), title=setting_of(rows, by), **legend)
    figure.supxlabel(textwrap.fill(_beneath(rows), int(17 * figure.get_figwidth())), fontsize=7, x=0.01, ha="left")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")  # a legend on the right knows nothing of it
    return figure


def lowest_losses(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each run: its option, its epochs, and `lowest_and_last`."""
    runs = [run for _, run in rows.groupby("directory", sort=False)]
    facts = [{"option": run["option"].iloc[0], "epochs": run["epoch"].iloc[-1]} for run in runs]
    return pd.DataFrame([{**fact, **lowest_and_last(run)} for fact, run in zip(facts, runs, strict=True)])


def _draw_phases(figure: Figure, axes: Axes, rows: pd.DataFrame) -> None:
    """Theory, on a piece of the plane that holds the trajectories, the edge and both phases."""
    low, high = _limits(rows["x"], 0.15)
    top = 1.05 * max(float(rows["y"].max()), 1.5)
    bottom = min(0.95 * float(rows["y"].min()), 0.6)
    x, y = np.meshgrid(np.linspace(low, high, GRID), np.linspace(bottom, top, GRID))
    exponent = np.log(chi(x / y, 1 / y)) / 2
    place: dict[str, Any] = {"extent": (low, high, bottom, top), "origin": "lower", "aspect": "auto"}
    image = axes.imshow(exponent, cmap=_pale("RdBu_r"), vmin=-DEEPEST, vmax=DEEPEST, interpolation="bilinear", **place)
    label, ticks = r"$\frac{1}{2}\,\log\,\chi$ (nats)", [-DEEPEST, -DEEPEST / 2, 0, DEEPEST / 2, DEEPEST]
    figure.colorbar(image, ax=axes, label=label, ticks=ticks, pad=0.02)
    ratios = np.linspace(low, high, 4 * GRID)
    axes.plot(ratios, boundary(ratios), "-", color="black", lw=1.2)
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, top)


def _pale(name: str) -> ListedColormap:
    """Half way to white, so that curves stand out."""
    return ListedColormap((colormaps[name](np.linspace(0, 1, 256)) + 1) / 2)


def _limits(values: "pd.Series[float]", least: float) -> tuple[float, float]:
    """So that they fill three quarters of the axis, which is at least 2 `least` long."""
    low, high = float(values.min()), float(values.max())
    margin = max((high - low) / 6, least - (high - low) / 2)
    return low - margin, high + margin


def _draw_curves(axes: Axes, rows: pd.DataFrame, x: str, y: str, colour: Any) -> None:
    if y not in rows or rows[y].isna().all():
        return
    known = rows[rows[y].notna()]
    several = known.groupby("configuration")["directory"].nunique().max() > 1
    for _, run in known.groupby("directory", sort=False) if several else []:
        axes.plot(run[x], run[y], "-", color=colour, lw=0.5, alpha=0.45)
    for _, curve in mean_curves(known, [x, y]).groupby("configuration", sort=False):
        axes.plot(curve[x], curve[y], "-", color=colour, lw=1.4)
        if y == "y":
            axes.plot(curve[x][:1], curve[y][:1], color=colour, **START)
    for _, run in known.groupby("directory", sort=False):
        tested = run[run["test/loss"].notna()] if "test/loss" in run else run[:0]
        if len(tested):
            best = int(tested["test/loss"].to_numpy(float).argmin())
            axes.plot(tested[x].iloc[[best]], tested[y].iloc[[best]], color=colour, **STAR)


def _decorate(plane: Axes, others: Sequence[Axes], rows: pd.DataFrame) -> None:
    plane.set_xlabel("$J_0/J$")
    plane.set_ylabel("$1/J$")
    corner: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "fontsize": 8,
        "color": "0.25",
    }
    plane.annotate("order", (0, 1), (4, -4), va="top", **corner)
    plane.annotate("chaos", (0, 0), (4, 4), **corner)
    for axes, name in zip(others, AGAINST_J.values(), strict=True):
        axes.axvline(1, color="0.5", lw=0.8, ls="--", zorder=0)
        axes.set_xlabel("$J$")
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    J = np.linspace(float(rows["J"].min()), float(rows["J"].max()), GRID)
    others[0].plot(J, np.log(chi(0.0, J)) / 2, "-", color="black", lw=1.2, zorder=1)
    others[0].axhline(0, color="0.5", lw=0.8, ls="--", zorder=0)
    others[2].yaxis.set_major_formatter(PercentFormatter(1))


def _legend(palette: dict[str, Any]) -> list[Line2D]:
    handles = [Line2D([], [], color=colour, lw=1.5, label=option) for option, colour in palette.items() if option]
    handles.append(Line2D([], [], color="0.4", label="initialization", **START))
    handles.append(Line2D([], [], color="0.4", label="lowest test loss", **STAR))
    handles.append(Line2D([], [], color="black", lw=1.2, label=r"theory, tanh: edge, $\frac{1}{2}\log\chi$"))
    handles.append(Line2D([], [], color="0.5", lw=0.8, ls="--", label="$J$ = 1"))
    return handles


def _beneath(rows: pd.DataFrame) -> str:
    """Where the lowest test loss was reached, by option."""
    said = f"{seeds_in_words(rows)} Thin: each run."
    lowest = lowest_losses(rows).dropna(subset="lowest_J")
    options = list(dict.fromkeys(lowest["option"]))
    reached = [_lowest_in_words(option, lowest[lowest["option"] == option]) for option in options]
    if not reached:
        return said
    late = int((lowest["lowest_epoch"] == lowest["epochs"]).sum())
    until = f" In {late} of {len(lowest)} runs that is the last epoch." if late else ""
    return f"{said} Lowest test loss at {'; '.join(reached)}.{until}"


def _lowest_in_words(option: str, found: pd.DataFrame) -> str:
    J, epochs = (found[name].to_numpy(float) for name in ("lowest_J", "lowest_epoch"))
    error = f" ± {mean_and_error(J)[1]:.1g}" if len(J) > 1 else ""
    said = f"J = {J.mean():.3g}{error}, epoch {epochs.mean():.3g}"
    return f"{said} ({option})" if option else said
