"""J² of a layer against epochs of training, and the line that it follows in the ordered phase."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from start_training.analysis.phase_curves import mean_curves, watched
from start_training.analysis.phase_slopes import Window, phase_slopes, window_rule, without_slope
from start_training.figures.colours import colours
from start_training.figures.range_test import option_of, setting_of
from start_training.standard_error import mean_and_error

TABLE = "phase"  # of `start_training.analysis.sweep_curves.sweep_curves`, which the figure is drawn from
MARKED = 40  # points of a curve that are marked
STAR: dict[str, Any] = {"marker": "*", "ms": 9, "ls": "", "mec": "white", "mew": 0.5, "zorder": 5}  # lowest test loss


def draw_phase_slope(
    table: pd.DataFrame,
    *,
    by: str | None = None,
    window: Window = "half",
    window_in: str = "epochs",
    layer: int | None = None,
    title: str = "",
) -> Figure:
    """J² after each epoch, and over its window the fit J² = A t + C; a curve for each value of `by`.

    Points: mean over seeds of a configuration; thin: each seed; black: the mean of their fits, over the mean window.
    The legend: mean of A ± its standard error over seeds, or of one run that of its fit. Dashed: J² = 1, the edge of
    chaos at J0 = 0. Stars: lowest test loss of each run. window, window_in: as `phase_slopes` has them.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), J² against epoch.
    Raises ValueError for a column or layer that the table does not have, a window that is none, or a table without
    phases.
    """
    rows = watched(table, layer)
    rows = rows.assign(option=option_of(rows, by))
    fits = phase_slopes(rows, window=window, window_in=window_in, layer=layer)
    palette = colours(list(dict.fromkeys(rows["option"])))
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for option, colour in palette.items():
        _draw_option(axes, rows[rows["option"] == option], fits[fits["option"] == option], colour)
    _decorate(axes, rows)
    legend: dict[str, Any] = {"loc": "outside right upper", "frameon": False, "fontsize": 8, "alignment": "left"}
    figure.legend(handles=_legend(fits, palette), title=setting_of(rows, by), **legend)
    text = textwrap.fill(_beneath(fits, window, window_in), int(17 * figure.get_figwidth()))
    figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")  # a legend on the right knows nothing of it
    return figure


def _draw_option(axes: Axes, rows: pd.DataFrame, fits: pd.DataFrame, colour: Any) -> None:
    several = rows.groupby("configuration")["directory"].nunique().max() > 1
    for _, curve in mean_curves(rows, ["J2"]).groupby("configuration", sort=False):
        axes.plot(curve["epoch"], curve["J2"], "o-" if len(curve) <= MARKED else "-", color=colour, ms=3, lw=1)
    for _, run in rows.groupby("directory", sort=False) if several else []:
        axes.plot(run["epoch"], run["J2"], "-", color=colour, lw=0.5, alpha=0.45)
    for _, found in fits[fits["slope"].notna()].groupby("configuration", sort=False):
        A, C, start, end = (found[name].mean() for name in ("slope", "intercept", "start", "end"))
        axes.plot([start, end], [A * start + C, A * end + C], "-", color="black", lw=1.4, zorder=4)
    lowest = fits.dropna(subset="lowest_epoch")
    axes.plot(lowest["lowest_epoch"], lowest["lowest_J"] ** 2, color=colour, **STAR)


def _decorate(axes: Axes, rows: pd.DataFrame) -> None:
    axes.axhline(1, color="0.5", lw=0.8, ls="--", zorder=0)
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate("edge of chaos", (1, 1), (-2, 2), fontsize=7, color="0.4", ha="right", **place)
    axes.set_xlim(0, max(float(rows["epoch"].max()), 1e-9) * 1.02)
    axes.set_ylim(0, None)
    axes.set_xlabel("epochs of training")
    layers = rows["layer_name"].unique()
    axes.set_ylabel(rf"$J^2$ of {layers[0]}" if len(layers) == 1 else "$J^2$ of the first square layer")
    axes.spines[["top", "right"]].set_visible(False)


def _legend(fits: pd.DataFrame, palette: dict[str, Any]) -> list[Line2D]:
    handles = []
    for option, colour in palette.items():
        text = "\n".join(filter(None, [option, slope_in_words(fits[fits["option"] == option])]))
        handles.append(Line2D([], [], color=colour, marker="o", ms=3, label=text))
    handles.append(Line2D([], [], color="black", lw=1.4, label=r"$J^2 = A\,t + C$"))
    if fits["lowest_epoch"].notna().any():
        handles.append(Line2D([], [], color="0.4", label="lowest test loss", **STAR))
    return handles


def slope_in_words(fits: pd.DataFrame) -> str:
    """A of one option, mean ± standard error over its runs, or of one run that of the fit; and the mean window."""
    found = fits[fits["slope"].notna()]
    slopes = found["slope"].to_numpy(float)
    if not len(slopes):
        return "no slope"
    error = mean_and_error(slopes)[1] if len(slopes) > 1 else float(found["slope_error"].to_numpy(float)[0])
    start, end = fits["start"].mean(), fits["end"].mean()
    some = "" if len(slopes) == len(fits) else f", {len(slopes)} of {len(fits)} runs"
    return rf"$A$ = {slopes.mean():.3g} ± {error:.1g}, epochs {start:.3g}–{end:.3g}{some}"


def seeds_in_words(rows: pd.DataFrame) -> str:
    """How many runs the points of a figure are means of: those of one configuration."""
    runs = rows.groupby("configuration")["directory"].nunique()
    low, high = runs.min(), runs.max()
    return "One run each." if high == 1 else f"Means of {low if low == high else f'{low}–{high}'} seeds ± s.e."


def _beneath(fits: pd.DataFrame, window: Window, window_in: str) -> str:
    said = f"{seeds_in_words(fits)} A per epoch, fitted over {window_rule(window, window_in)}."
    bent = fits["slope"].notna() & ~fits["linear"].astype(bool)
    if bent.any():
        said += f" In {bent.sum()} of {len(fits)} runs the halves of the window differ by more than half of A."
    if len(none := without_slope(fits)):
        said += f" {len(none)} of {len(fits)} runs have no slope."
    return said
