"""J² of a layer against epochs of training, with the line fitted in the ordered phase."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from start_training.analysis.phase_curves import layer_rows, mean_curves, run_counts
from start_training.analysis.phase_slopes import Window, mean_slope, phase_slopes, window_rule
from start_training.figures import draws
from start_training.figures.axes import colours, finish, handle, panels
from start_training.figures.labels import option_of, plus_minus, seeds_text, setting_of

MARKED = 40  # largest number of points of a curve that is drawn with markers
STAR: dict[str, Any] = {"marker": "*", "ms": 9, "ls": "", "mec": "white", "mew": 0.5, "zorder": 5}  # lowest test loss


@draws("phase")
def draw_phase_slope(
    table: pd.DataFrame,
    *,
    by: str | None = None,
    window: Window = "half",
    window_in: str = "epochs",
    layer: int | None = None,
    title: str = "",
) -> Figure:
    """Draw J² after each epoch and the fitted line J² = A t + C, with a colour for each value of `by`.

    Points: mean over the seeds of a configuration; thin lines: each seed; black: the mean of the fitted lines, over the
    mean window. The legend gives the mean of A ± its standard error over seeds (for one run, that of the fit). Dashed:
    J² = 1, the edge of chaos at J0 = 0. Stars: the lowest test loss of each run.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), J² against epoch.

    Args:
        table: Result of `sweep_curves` with kind `phase`.
        by: Column whose values distinguish the curves; None uses the settings that vary.
        window: Range over which the line is fitted to J²; see `phase_slopes`.
        window_in: Unit of `window`; see `phase_slopes`.
        layer: Number of the layer; None selects the first square layer.
        title: Title above the panel.

    Raises:
        ValueError: the table has no column `by`, no such layer or no finite J, or the window is invalid.
    """
    rows = layer_rows(table, layer)
    rows = rows.assign(option=option_of(rows, by))
    fits = phase_slopes(rows, window=window, window_in=window_in, layer=layer)
    palette = colours(rows["option"])
    figure, ((axes,),) = panels(1, 1, size=(7.6, 4.4))
    for option, colour in palette.items():
        _draw_option(axes, rows[rows["option"] == option], fits[fits["option"] == option], colour)
    axes.axhline(1, color="0.5", lw=0.8, ls="--", zorder=0)
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate("edge of chaos", (1, 1), (-2, 2), fontsize=7, color="0.4", ha="right", **place)
    layers = rows["layer_name"].unique()
    name = rf"$J^2$ of {layers[0]}" if len(layers) == 1 else "$J^2$ of the first square layer"
    axes.set(xlim=(0, max(float(rows["epoch"].max()), 1e-9) * 1.02), xlabel="epochs of training", ylabel=name)
    axes.set_ylim(0, None)
    caption = _caption(fits, window_rule(window, window_in))
    return finish(figure, title, _handles(fits, palette), caption=caption, legend_title=setting_of(rows, by))


def _draw_option(axes: Axes, rows: pd.DataFrame, fits: pd.DataFrame, colour: Any) -> None:
    for _, curve in mean_curves(rows, ["J2"]).groupby("configuration", sort=False):
        axes.plot(curve["epoch"], curve["J2"], "o-" if len(curve) <= MARKED else "-", color=colour, ms=3, lw=1)
    for _, run in rows.groupby("directory", sort=False) if run_counts(rows).max() > 1 else []:
        axes.plot(run["epoch"], run["J2"], "-", color=colour, lw=0.5, alpha=0.45)
    lines = fits.groupby("configuration", sort=False)[["slope", "intercept", "start", "end"]].mean().dropna()
    for A, C, start, end in lines.to_numpy():
        axes.plot([start, end], [A * start + C, A * end + C], "-", color="black", lw=1.4, zorder=4)
    lowest = fits.dropna(subset="lowest_epoch")
    axes.plot(lowest["lowest_epoch"], lowest["lowest_J"] ** 2, color=colour, **STAR)


def _handles(fits: pd.DataFrame, palette: Mapping[str, Any]) -> list[Line2D]:
    handles = []
    for option, colour in palette.items():
        text = "\n".join(filter(None, [option, _slope_text(fits[fits["option"] == option])]))
        handles.append(handle(text, color=colour, marker="o", ms=3))
    handles.append(handle(r"$J^2 = A\,t + C$", color="black", lw=1.4))
    if fits["lowest_epoch"].notna().any():
        handles.append(handle("lowest test loss", color="0.4", **STAR))
    return handles


def _slope_text(fits: pd.DataFrame) -> str:
    fitted = fits[fits["slope"].notna()]
    if fitted.empty:
        return "no slope"
    share = "" if len(fitted) == len(fits) else f", {len(fitted)} of {len(fits)} runs"
    epochs = f"epochs {fits['start'].mean():.3g}–{fits['end'].mean():.3g}"
    return rf"$A$ = {plus_minus(*mean_slope(fitted))}, {epochs}{share}"


def _caption(fits: pd.DataFrame, rule: str) -> str:
    text = f"{seeds_text(run_counts(fits))} A is the growth of J² per epoch, fitted over {rule}."
    if bent := int(fits["bent"].sum()):
        text += f" In {bent} of {len(fits)} runs the slopes of the window's halves differ by more than half of A."
    if without := int(fits["slope"].isna().sum()):
        text += f" For {without} of {len(fits)} runs no slope could be fitted."
    return text
