"""The trajectory of a layer through the phase diagram during training, with test loss and accuracy along it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from start_training.analysis.phase_curves import layer_rows, lowest_losses, mean_curves, run_counts
from start_training.figures import draws
from start_training.figures.axes import colours, finish, handle, panels
from start_training.figures.labels import option_of, plus_minus, seeds_text, setting_of
from start_training.figures.phase_slope import STAR
from start_training.theory.edge_of_chaos import boundary, chi

AGAINST_J = {
    "lyapunov": "Lyapunov exponent (nats)",
    "test/loss": "test loss",
    "test/accuracy": "test accuracy",
}
GRID = 32  # points along each side of the background
DEEPEST = 1.0  # absolute value of ½ log χ at which the colours of the background saturate
START: dict[str, Any] = {"marker": "o", "ms": 4.5, "ls": "", "mfc": "white", "zorder": 4}
AT_ONE: dict[str, Any] = {"color": "0.5", "lw": 0.8, "ls": "--"}


@draws("phase")
def draw_phase_trajectory(
    table: pd.DataFrame, *, by: str | None = None, layer: int | None = None, title: str = ""
) -> Figure:
    """Draw 1/J against J0/J during training, and Lyapunov exponent, test loss and test accuracy against J.

    Each value of `by` has a colour: mean over seeds, and each seed as a thin line. Circles: initialization; stars: the
    lowest test loss of each run. Background of the first panel: ½ log χ, which in theory is the Lyapunov exponent, in
    nats per iteration, of a wide tanh layer with independent weights; black: the edge of chaos, χ = 1. Second panel:
    the measured exponent of the trained layer's map, and in black ½ log χ at J0 = 0. Dashed: J = 1 and exponent 0.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), trajectories over the phase diagram.

    Args:
        table: Result of `sweep_curves` with kind `phase`.
        by: Column whose values distinguish the curves; None uses the settings that vary.
        layer: Number of the layer; None selects the first square layer.
        title: Title above the panels.

    Raises:
        ValueError: the table has no column `by`, no such layer or no finite J.
    """
    rows = layer_rows(table, layer)
    rows = rows.assign(option=option_of(rows, by), x=rows["J0"] / rows["J"], y=1 / rows["J"])
    palette = colours(rows["option"])
    figure, [[plane, *others]] = panels(1, 4, size=(14, 3.8), width_ratios=[1.2, 1, 1, 1])
    _draw_phases(figure, plane, rows)
    for option, colour in palette.items():
        of_option = rows[rows["option"] == option]
        _draw_curves(plane, of_option, "x", "y", colour)
        for axes, column in zip(others, AGAINST_J, strict=True):
            _draw_curves(axes, of_option, "J", column, colour)
    _decorate(others, rows)
    handles = [handle(option, color=colour, lw=1.5) for option, colour in palette.items() if option]
    handles += [handle("initialization", color="0.4", **START), handle("lowest test loss", color="0.4", **STAR)]
    handles.append(handle(r"theory for tanh: $\chi=1$; $\frac{1}{2}\log\chi$", color="black", lw=1.2))
    handles.append(handle("$J$ = 1", **AT_ONE))
    return finish(figure, title, handles, caption=_caption(rows), legend_title=setting_of(rows, by))


def _draw_phases(figure: Figure, axes: Axes, rows: pd.DataFrame) -> None:
    """Draw ½ log χ of theory as background, with limits that include the trajectories, the edge and both phases."""
    low, high = _limits(rows["x"], 0.15)
    top = 1.05 * max(float(rows["y"].max()), 1.5)
    bottom = min(0.95 * float(rows["y"].min()), 0.6)
    x, y = np.meshgrid(np.linspace(low, high, GRID), np.linspace(bottom, top, GRID))
    exponent = np.log(chi(x / y, 1 / y)) / 2
    pale = ListedColormap((colormaps["RdBu_r"](np.linspace(0, 1, 256)) + 1) / 2)  # pale, so that curves are visible
    place: dict[str, Any] = {"extent": (low, high, bottom, top), "origin": "lower", "aspect": "auto"}
    image = axes.imshow(exponent, cmap=pale, vmin=-DEEPEST, vmax=DEEPEST, interpolation="bilinear", **place)
    label, ticks = r"$\frac{1}{2}\,\log\,\chi$ (nats)", [-DEEPEST, -DEEPEST / 2, 0, DEEPEST / 2, DEEPEST]
    figure.colorbar(image, ax=axes, label=label, ticks=ticks, pad=0.02)
    ratios = np.linspace(low, high, 4 * GRID)
    axes.plot(ratios, boundary(ratios), "-", color="black", lw=1.2)
    axes.set(xlim=(low, high), ylim=(bottom, top), xlabel="$J_0/J$", ylabel="$1/J$")
    axes.spines[["top", "right"]].set_visible(True)
    corner: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate("order", (0, 1), (4, -4), va="top", fontsize=8, color="0.25", **corner)
    axes.annotate("chaos", (0, 0), (4, 4), fontsize=8, color="0.25", **corner)


def _limits(values: "pd.Series[float]", least: float) -> tuple[float, float]:
    """Return limits of an axis at least 2 · `least` long, of which the values fill at most three quarters."""
    low, high = float(values.min()), float(values.max())
    margin = max((high - low) / 6, least - (high - low) / 2)
    return low - margin, high + margin


def _draw_curves(axes: Axes, rows: pd.DataFrame, x: str, y: str, colour: Any) -> None:
    known = rows[rows[y].notna()] if y in rows else rows[:0]
    if known.empty:
        return
    for _, run in known.groupby("directory", sort=False) if run_counts(known).max() > 1 else []:
        axes.plot(run[x], run[y], "-", color=colour, lw=0.5, alpha=0.45)
    for _, curve in mean_curves(known, [x, y]).groupby("configuration", sort=False):
        axes.plot(curve[x], curve[y], "-", color=colour, lw=1.4)
        if y == "y":
            axes.plot(curve[x][:1], curve[y][:1], color=colour, **START)
    tested = known[known["test/loss"].notna()] if "test/loss" in known else known[:0]
    for _, run in tested.groupby("directory", sort=False):
        best = run.iloc[[int(run["test/loss"].to_numpy(float).argmin())]]
        axes.plot(best[x], best[y], color=colour, **STAR)


def _decorate(others: Sequence[Axes], rows: pd.DataFrame) -> None:
    for axes, name in zip(others, AGAINST_J.values(), strict=True):
        axes.axvline(1, zorder=0, **AT_ONE)
        axes.set(xlabel="$J$", ylabel=name)
    J = np.linspace(float(rows["J"].min()), float(rows["J"].max()), GRID)
    others[0].plot(J, np.log(chi(0.0, J)) / 2, "-", color="black", lw=1.2, zorder=1)
    others[0].axhline(0, zorder=0, **AT_ONE)
    others[2].yaxis.set_major_formatter(PercentFormatter(1))


def _caption(rows: pd.DataFrame) -> str:
    text = f"{seeds_text(run_counts(rows))} Thin lines: each run."
    lowest = lowest_losses(rows).dropna(subset="lowest_J")
    if lowest.empty:
        return text
    means = lowest.groupby("option", sort=False)[["lowest_J", "lowest_epoch"]].agg(["mean", "sem"])
    names = [f" ({option})" if option else "" for option in means.index]
    reached = [
        f"J = {plus_minus(*row['lowest_J'])}, epoch {row['lowest_epoch', 'mean']:.3g}{name}"
        for name, (_, row) in zip(names, means.iterrows(), strict=True)
    ]
    late = int((lowest["lowest_epoch"] == lowest["epochs"]).sum())
    until = f" In {late} of {len(lowest)} runs the lowest test loss is in the last epoch." if late else ""
    return f"{text} Lowest test loss at {'; '.join(reached)}.{until}"
