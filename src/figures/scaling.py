"""The slope A of J² against eta, 1/(1 − alpha) and 1/B: the scaling law of training time."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator, StrMethodFormatter

from start_training.analysis.phase_curves import watched, with_scaling
from start_training.analysis.phase_slopes import (
    Window,
    constant_spread,
    exponents,
    law_points,
    law_variable,
    phase_slopes,
    settings_of_law,
    window_rule,
)
from start_training.figures.colours import CYCLE
from start_training.figures.phase_slope import seeds_in_words
from start_training.order_chaos.scaling_law import CONFIDENCE, Exponent

TABLE = "phase"  # of `start_training.analysis.sweep_curves.sweep_curves`, which the figure is drawn from
AXES = {"eta": r"learning rate $\eta$", "alpha": r"$1/(1-\alpha)$, momentum $\alpha$", "batch": "1/batch size"}
NAMES = {"eta": "η", "alpha": "α", "batch": "B"}
MARKERS = {"eta": "o", "alpha": "s", "batch": "D"}
COLOURS = dict(zip(AXES, CYCLE, strict=False))


def draw_scaling(
    table: pd.DataFrame,
    *,
    window: Window = "half",
    window_in: str = "epochs",
    layer: int | None = None,
    title: str = "",
) -> Figure:
    """A panel for each of eta, alpha and the batch size that varies, and one of the constant A (1 − alpha) B / eta.

    Points: mean over seeds ± one standard error; open where a run's slope is not linear; crosses below: values at
    which a run has no slope. Line: A ∝ x^p, least squares over the means, with p and its 95% interval; dashed: p = 1,
    the law, through their middle. Constant: each run, by its scaling variable; the line is the mean, the band ± one
    standard deviation. The column `vary` tells which runs are of which panel (`settings_of_law`); window, window_in:
    as `phase_slopes` has them. Beneath: the window, and which runs have no slope and why.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), A ∝ eta / ((1 − alpha) B).
    Raises ValueError where none of the three varies alone, for a window that is none, or a table without phases or
    scaling variables.
    """
    rows = with_scaling(watched(table, layer))
    slopes = phase_slopes(rows, window=window, window_in=window_in, layer=layer)
    panels, fitted = settings_of_law(slopes), exponents(slopes)
    if not panels:
        raise ValueError("table: none of eta, alpha and the batch size varies while the other two stay")
    figure = Figure(figsize=(2.9 * (len(panels) + 1), 3.6), layout="constrained")
    *every, last = figure.subplots(1, len(panels) + 1)
    _share_slopes(every)
    for number, (axes, (name, runs)) in enumerate(zip(every, panels.items(), strict=True)):
        _draw_setting(axes, runs, name, fitted[name])
        if number == 0:
            axes.set_ylabel("slope $A$ of $J^2$, per epoch")
    _draw_constant(last, panels)
    low, high = every[0].get_ylim()
    every[0].set_ylim(low, high * (high / low) ** 0.25)  # room for what the legends say
    for axes in (*every, last):
        axes.spines[["top", "right"]].set_visible(False)
    text = textwrap.fill(_beneath(slopes, panels, window_rule(window, window_in)), int(17 * figure.get_figwidth()))
    figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def what_is_missing(runs: pd.DataFrame) -> list[str]:
    """Of the runs without a slope above 0: a line for each reason, with their settings and how many they are."""
    reasons: dict[str, Counter[str]] = {}
    for _, row in _lost(runs).iterrows():
        setting = " ".join(f"{letter} {row[name]:g}" for name, letter in NAMES.items() if np.isfinite(row[name]))
        reasons.setdefault(_why(row), Counter())[setting] += 1
    return [
        f"{reason}: {', '.join(f'{setting} ({count})' for setting, count in settings.items())}"
        for reason, settings in reasons.items()
    ]


def _lost(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that no exponent can be fitted to."""
    return runs[~(runs["slope"] > 0)]


def _why(row: "pd.Series[Any]") -> str:
    if np.isfinite(row["slope"]):
        return "J² did not grow"
    if row["edge_epoch"] == 0:
        return "past the edge from the beginning"
    if np.isfinite(row["edge_epoch"]):
        return "at the edge before a window of 3 epochs"
    return "less than 3 epochs measured in the window" if "measure" in row["reason"] else str(row["reason"])


def _share_slopes(every: Sequence[Axes]) -> None:
    """One logarithmic axis of slopes for all settings, so that they can be compared."""
    for axes in every:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in every[1:]:
        axes.sharey(every[0])
        axes.tick_params(labelleft=False, which="both")


def _draw_setting(axes: Axes, runs: pd.DataFrame, name: str, exponent: Exponent | None) -> None:
    points, every, colour = law_points(runs, name), law_variable(name, runs[name]), COLOURS[name]
    axes.set_xlim(every.min() / 1.4, every.max() * 1.4)
    for bent, face in ((False, colour), (True, "white")):
        some = points[(points["bent"] > 0) == bent]
        point: dict[str, Any] = {"fmt": MARKERS[name], "ms": 4.5, "mfc": face, "color": colour, "capsize": 2}
        axes.errorbar(some["x"], some["slope"], yerr=some["error"].fillna(0), elinewidth=1, zorder=3, **point)
    if len(points):
        x = points["x"].to_numpy()
        x0, A0 = np.exp(np.log(points[["x", "slope"]]).mean())
        axes.plot(x, A0 * x / x0, "--", color="0.5", lw=1)
        if exponent is not None:
            axes.plot(x, A0 * (x / x0) ** exponent.value, "-", color=colour, lw=1)
        handles = [Line2D([], [], color="0.5", ls="--", lw=1, label="the law, $p$ = 1")]
        handles.insert(0, Line2D([], [], color=colour, lw=1, label=exponent_in_words(exponent)))
        axes.legend(handles=handles, frameon=False, fontsize=7, loc="upper left", handlelength=1.5)
    if len(lost := _lost(runs)[name].unique()):
        style: dict[str, Any] = {"marker": "x", "ls": "", "color": "0.4", "ms": 4, "mew": 1, "clip_on": False}
        axes.plot(law_variable(name, lost), [0.02] * len(lost), transform=axes.get_xaxis_transform(), **style)
    axes.set_xlabel(AXES[name])
    if name == "batch":
        _ticks_of_batches(axes, runs["batch"])


def exponent_in_words(exponent: Exponent | None) -> str:
    """p with its interval."""
    if exponent is None:
        return "fewer than 3 values"
    return f"$p$ = {exponent.value:.3f} [{exponent.low:.3f}, {exponent.high:.3f}]"


def _ticks_of_batches(axes: Axes, batches: "pd.Series[float]") -> None:
    sizes = sorted(batches.dropna().unique())
    shown = sizes[:: 2 if len(sizes) > 5 else 1]
    axes.xaxis.set_major_locator(FixedLocator([1 / size for size in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"1/{1 / x:.0f}"))


def _draw_constant(axes: Axes, panels: dict[str, pd.DataFrame]) -> None:
    runs = pd.concat(panels.values()).drop_duplicates("directory")
    for name, of_panel in panels.items():
        axes.plot(of_panel["scaling"], of_panel["constant"], MARKERS[name], color=COLOURS[name], ms=3.5, alpha=0.8)
    if spread := constant_spread(runs):
        mean, sd = spread["mean"], spread["sd"]
        axes.axhline(mean, color="0.4", lw=1, zorder=0)
        axes.axhspan(mean - sd, mean + sd, color="0.5", alpha=0.15, lw=0, zorder=0)
        axes.set_title(f"mean {mean:.3g}, sd {100 * spread['relative_sd']:.0f}%, {spread['runs']} runs", fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.25 * max(float(runs["constant"].max()), 1e-9) if runs["constant"].notna().any() else 1)
    axes.set_xlabel(r"$\eta/((1-\alpha)B)$")
    axes.set_ylabel(r"$A\,(1-\alpha)B/\eta$, per epoch")
    handles = [
        Line2D([], [], ls="", marker=MARKERS[name], color=COLOURS[name], ms=3.5, label=f"{NAMES[name]} varies")
        for name in panels
    ]
    axes.legend(handles=handles, frameon=False, fontsize=7, loc="lower right")


def _beneath(slopes: pd.DataFrame, panels: dict[str, pd.DataFrame], rule: str) -> str:
    runs = pd.concat(panels.values()).drop_duplicates("directory")
    said = f"{seeds_in_words(runs)} Intervals of {CONFIDENCE:.0%}. "
    ends = runs["J2_at_end"].dropna()
    reached = f"; J² at its end: {ends.min():.2g} to {ends.max():.2g}" if len(ends) else ""
    said += f"A fitted over {rule}{reached}."
    bent = int((runs["slope"].notna() & ~runs["linear"].astype(bool)).sum())
    said += f" Open: the window's halves differ by more than half of A ({bent} runs)." if bent else ""
    if spread := constant_spread(runs):
        said += f" The constant lies between {spread['smallest']:.3g} and {spread['largest']:.3g}."
    lost = what_is_missing(runs)
    said += f" Without a slope (crosses): {'; '.join(lost)}." if lost else ""
    rest = len(slopes) - len(runs)
    return said + (f" {rest} runs belong to no panel." if rest else "")
