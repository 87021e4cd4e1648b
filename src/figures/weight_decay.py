"""Where weight decay lets J settle, and how well the net does there."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from start_training.analysis.decay_points import decay_points, edge_decays, expected_J
from start_training.analysis.phase_slopes import Window, phase_slopes, window_rule
from start_training.figures.colours import colours
from start_training.figures.mean_length_depth import MARKERS
from start_training.figures.phase_slope import seeds_in_words
from start_training.figures.range_test import option_of
from start_training.order_chaos.weight_decay_guideline import LAST, STILL

TABLE = "phase"  # of `start_training.analysis.sweep_curves.sweep_curves`, which the figure is drawn from
APART = 1.8  # decades' share that zero is set apart by, in steps between the smallest decays
DECAY = r"$\lambda$ = weight_decay / 2"


def draw_weight_decay(
    table: pd.DataFrame,
    *,
    by: str | None = None,
    window: Window = "half",
    window_in: str = "epochs",
    layer: int | None = None,
    title: str = "",
) -> Figure:
    """Final J, test loss and test accuracy against λ, half of PyTorch's weight_decay; a curve for each value of `by`.

    Points: mean over seeds ± one standard error, 0 set apart. Open: the lowest test loss of a run. Band: λ* =
    A (1 − alpha) B / (4 eta S), mean ± standard error over the runs without decay, whose A is fitted over the window;
    dotted: J of `expected_J`, from that A, after as many epochs. Dashed: J = 1.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), weight decays from 0 to 1e-3; λ*:
    `start_training.order_chaos.weight_decay_guideline`.
    Raises ValueError for a column or layer that the table does not have, a table without phases, or one in which no
    weight decay is known.
    """
    runs = phase_slopes(table, window=window, window_in=window_in, layer=layer)
    runs = runs.assign(option=option_of(runs, by) if by else "")
    points, guides = decay_points(runs), edge_decays(runs)
    palette = colours(list(dict.fromkeys(points["option"])))
    zero = _place_of_zero(points["decay"])
    figure = Figure(figsize=(11.4, 3.7), layout="constrained")
    panels = figure.subplots(1, 3)
    for number, (option, colour) in enumerate(palette.items()):
        curve = points[points["option"] == option]
        x = curve["decay"].where(curve["decay"] > 0, zero)
        style: dict[str, Any] = {"color": colour, "marker": MARKERS[number % len(MARKERS)]}
        for axes, names in zip(panels, (("J",), ("final_loss", "lowest_loss"), ("accuracy",)), strict=True):
            for name, face in zip(names, (colour, "white"), strict=False):
                _draw_points(axes, x, curve[name], curve[f"{name}_error"], mfc=face, **style)
        if option in guides:
            _draw_guide(panels, guides[option], colour)
            _draw_expected(panels[0], runs[runs["option"] == option], zero, colour)
    _decorate(panels, points["decay"], zero)
    figure.legend(handles=_legend(palette, bool(guides)), loc="outside right upper", frameon=False, fontsize=8)
    text = textwrap.fill(_beneath(runs, guides, window_rule(window, window_in)), int(17 * figure.get_figwidth()))
    figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")  # a legend on the right knows nothing of it
    return figure


def _place_of_zero(decays: "pd.Series[float]") -> float:
    """Left of the smallest one, by the first step between them."""
    above = np.sort(decays[decays > 0].unique())
    if not len(above):
        return 1e-5
    step = above[1] / above[0] if len(above) > 1 else 10.0
    return float(above[0] / max(step, 2.0) ** APART)


def _draw_points(axes: Axes, x: Any, y: Any, error: Any, **style: Any) -> None:
    axes.plot(x, y, "-", color=style["color"], lw=0.8, alpha=0.6)
    errors: dict[str, Any] = {"elinewidth": 1, "capsize": 2, "ls": "", "ms": 4.5, "zorder": 3}
    axes.errorbar(x, y, yerr=error.fillna(0), **errors, **style)


def _draw_guide(panels: Any, guide: tuple[float, float], colour: Any) -> None:
    mean, error = guide
    for axes in panels:
        axes.axvline(mean, color=colour, lw=0.8, zorder=0)
        if np.isfinite(error):
            axes.axvspan(mean - error, mean + error, color=colour, alpha=0.18, lw=0, zorder=0)


def _draw_expected(axes: Axes, runs: pd.DataFrame, zero: float, colour: Any) -> None:
    decays = runs["weight_decay"] / 2
    if (decays > 0).any():
        low, high = zero, 1.3 * float(decays.max())
        x = np.geomspace(low, high, 100)
        axes.plot(x, expected_J(runs, np.where(x <= zero, 0, x)), ":", color=colour, lw=1.2)


def _decorate(panels: Any, decays: "pd.Series[float]", zero: float) -> None:
    above = np.sort(decays[decays > 0].unique())
    ends = np.log10(above[[0, -1]]) if len(above) else np.array([0.0, -1.0])
    powers = np.arange(np.ceil(ends[0]), np.floor(ends[1]) + 1)
    for axes, name in zip(panels, ("final $J$", "test loss", "final test accuracy"), strict=True):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator([zero, *10.0**powers]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels(["0", *(f"$10^{{{power:.0f}}}$" for power in powers)])
        axes.set_xlim(zero / 1.5, 1.5 * float(above[-1]) if len(above) else 2 * zero)
        if len(above):
            axes.plot([np.sqrt(zero * above[0])], [0], marker=[(-1, -1.5), (1, 1.5)], color="black", ms=6, ls="",
                      transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip
        axes.set_xlabel(DECAY)
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].axhline(1, color="0.5", lw=0.8, ls="--", zorder=0)
    panels[2].yaxis.set_major_formatter(PercentFormatter(1))


def _legend(palette: dict[str, Any], guided: bool) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], color=colour, marker=MARKERS[number % len(MARKERS)], ls="", ms=4.5, label=option)
        for number, (option, colour) in enumerate(palette.items())
        if option
    ]
    handles.append(Line2D([], [], color="0.4", marker="o", ls="", ms=4.5, label="after the last epoch"))
    handles.append(Line2D([], [], color="0.4", marker="o", ls="", ms=4.5, mfc="white", label="lowest of the run"))
    handles.append(Line2D([], [], color="0.5", lw=0.8, ls="--", label="$J$ = 1"))
    if guided:
        handles.append(Patch(color="0.4", alpha=0.3, lw=0, label=r"$\lambda^*$, from $A$ without decay"))
        handles.append(Line2D([], [], color="0.4", ls=":", lw=1.2, label="$J$ expected from $A$"))
    return handles


def _beneath(runs: pd.DataFrame, guides: dict[str, tuple[float, float]], rule: str) -> str:
    epochs = runs["epochs"].unique()
    trained = f"{epochs[0]:g}" if len(epochs) == 1 else f"{epochs.min():g} to {epochs.max():g}"
    said = f"{seeds_in_words(runs)} {trained} epochs."
    decayed = runs[(runs["weight_decay"] > 0) & ~runs["settled"].astype(bool)]
    if len(moving := np.sort(decayed["weight_decay"].unique() / 2)):
        share = f"by more than {STILL:.0%} in the last {LAST:.0%} of them"
        said += f" J² still changed {share} at λ = {', '.join(f'{decay:.2g}' for decay in moving)}."
    if runs.groupby(["option", "weight_decay"])["configuration"].nunique().max() > 1:
        said += " Some points are means of several configurations, which `by` would tell apart."
    if not guides:
        return f"{said} No λ*: no run without weight decay has a slope."
    named = [
        f"λ* = {mean:.3g}{'' if np.isnan(error) else f' ± {error:.1g}'} (weight_decay {2 * mean:.3g})"
        + (f" for {option}" if option else "")
        for option, (mean, error) in guides.items()
    ]
    return f"{said} {'; '.join(named)}; A fitted over {rule}."
