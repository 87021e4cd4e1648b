"""The slope A of J² against eta, 1/(1 − alpha) and 1/B: the scaling law of training time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator, StrMethodFormatter

from start_training.analysis.phase_curves import run_counts, watched, with_scaling
from start_training.analysis.phase_slopes import (
    Window,
    constant_spread,
    exponents,
    law_points,
    law_through_middle,
    law_variable,
    phase_slopes,
    settings_of_law,
    window_rule,
)
from start_training.figures import draws
from start_training.figures.axes import CYCLE, draw_points, finish, handle, panels
from start_training.figures.labels import seeds_text
from start_training.order_chaos.scaling_law import CONFIDENCE, Exponent

AXES = {"eta": r"learning rate $\eta$", "alpha": r"$1/(1-\alpha)$, momentum $\alpha$", "batch": "1/batch size"}
NAMES = {"eta": "η", "alpha": "α", "batch": "B"}
MARKERS = {"eta": "o", "alpha": "s", "batch": "D"}
COLOURS = dict(zip(AXES, CYCLE, strict=False))


@draws("phase")
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
    standard deviation. Beneath: the window, and which runs have no slope and why.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), A ∝ eta / ((1 − alpha) B).

    Args:
        table: Of `sweep_curves`, kind phase; its column `vary` says which runs are of which panel (`settings_of_law`).
        window: Over which J² is fitted, as `phase_slopes` has it.
        window_in: Its unit, as `phase_slopes` has it.
        layer: Its number; None: the first square one.
        title: Above the panels.

    Raises:
        ValueError: none of the three settings varies while the others stay, the window is none, or the table has no
            phases or scaling variables.
    """
    rows = with_scaling(watched(table, layer))
    slopes = phase_slopes(rows, window=window, window_in=window_in, layer=layer)
    settings, fitted = settings_of_law(slopes), exponents(slopes)
    if not settings:
        raise ValueError("table: none of eta, alpha and the batch size varies while the other two stay")
    figure, [[*every, last]] = panels(1, len(settings) + 1, size=(2.9 * (len(settings) + 1), 3.6))
    _share_slopes(every)
    for axes, (name, runs) in zip(every, settings.items(), strict=True):
        _draw_setting(axes, runs, name, fitted[name])
    every[0].set_ylabel("slope $A$ of $J^2$, per epoch")
    _draw_constant(last, settings)
    low, high = every[0].get_ylim()
    every[0].set_ylim(low, high * (high / low) ** 0.25)  # room for what the legends say
    return finish(figure, title, caption=_caption(slopes, settings, window_rule(window, window_in)))


def missing_slopes(runs: pd.DataFrame) -> list[str]:
    """A line for each reason why runs have no slope above 0: their settings, and how many runs have them."""
    reasons: dict[str, Counter[str]] = {}
    for _, row in runs[~(runs["slope"] > 0)].iterrows():
        setting = " ".join(f"{letter} {row[name]:g}" for name, letter in NAMES.items() if np.isfinite(row[name]))
        reasons.setdefault(_reason(row), Counter())[setting] += 1
    return [
        f"{reason}: {', '.join(f'{setting} ({count})' for setting, count in settings.items())}"
        for reason, settings in reasons.items()
    ]


def exponent_text(exponent: Exponent | None) -> str:
    """p with its interval."""
    if exponent is None:
        return "fewer than 3 values"
    return f"$p$ = {exponent.value:.3f} [{exponent.low:.3f}, {exponent.high:.3f}]"


def _reason(row: "pd.Series[Any]") -> str:
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
        axes.set(xscale="log", yscale="log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in every[1:]:
        axes.sharey(every[0])
        axes.tick_params(labelleft=False, which="both")


def _draw_setting(axes: Axes, runs: pd.DataFrame, name: str, exponent: Exponent | None) -> None:
    points, values, colour = law_points(runs, name), law_variable(name, runs[name]), COLOURS[name]
    axes.set(xlim=(values.min() / 1.4, values.max() * 1.4), xlabel=AXES[name])
    for bent, face in ((False, colour), (True, "white")):
        some = points[(points["bent"] > 0) == bent]
        marked: dict[str, Any] = {"marker": MARKERS[name], "mfc": face, "color": colour, "zorder": 3}
        draw_points(axes, some["x"], some["slope"], some["error"].fillna(0), **marked)
    if len(points):
        axes.plot(points["x"], law_through_middle(points), "--", color="0.5", lw=1)
        if exponent is not None:
            axes.plot(points["x"], law_through_middle(points, exponent.value), "-", color=colour, lw=1)
        lines = [handle(exponent_text(exponent), color=colour, lw=1)]
        lines.append(handle("the law, $p$ = 1", color="0.5", ls="--", lw=1))
        axes.legend(handles=lines, frameon=False, fontsize=7, loc="upper left", handlelength=1.5)
    if len(lost := runs.loc[~(runs["slope"] > 0), name].unique()):
        cross: dict[str, Any] = {"marker": "x", "ls": "", "color": "0.4", "ms": 4, "mew": 1, "clip_on": False}
        axes.plot(law_variable(name, lost), [0.02] * len(lost), transform=axes.get_xaxis_transform(), **cross)
    if name == "batch":
        sizes = sorted(runs["batch"].dropna().unique())
        axes.xaxis.set_major_locator(FixedLocator([1 / size for size in sizes[:: 2 if len(sizes) > 5 else 1]]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"1/{1 / x:.0f}"))


def _draw_constant(axes: Axes, settings: Mapping[str, pd.DataFrame]) -> None:
    runs = pd.concat(settings.values()).drop_duplicates("directory")
    for name, rows in settings.items():
        axes.plot(rows["scaling"], rows["constant"], MARKERS[name], color=COLOURS[name], ms=3.5, alpha=0.8)
    if spread := constant_spread(runs):
        mean, sd = spread["mean"], spread["sd"]
        axes.axhline(mean, color="0.4", lw=1, zorder=0)
        axes.axhspan(mean - sd, mean + sd, color="0.5", alpha=0.15, lw=0, zorder=0)
        axes.set_title(f"mean {mean:.3g}, sd {100 * spread['relative_sd']:.0f}%, {spread['runs']} runs", fontsize=7)
    axes.set(xscale="log", xlabel=r"$\eta/((1-\alpha)B)$", ylabel=r"$A\,(1-\alpha)B/\eta$, per epoch")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.25 * max(float(runs["constant"].max()), 1e-9) if runs["constant"].notna().any() else 1)
    points = [
        handle(f"{NAMES[name]} varies", ls="", marker=MARKERS[name], color=COLOURS[name], ms=3.5) for name in settings
    ]
    axes.legend(handles=points, frameon=False, fontsize=7, loc="lower right")


def _caption(slopes: pd.DataFrame, settings: Mapping[str, pd.DataFrame], rule: str) -> str:
    runs = pd.concat(settings.values()).drop_duplicates("directory")
    text = f"{seeds_text(run_counts(runs))} Intervals of {CONFIDENCE:.0%}. A fitted over {rule}"
    ends = runs["J2_at_end"].dropna()
    text += f"; J² at its end: {ends.min():.2g} to {ends.max():.2g}." if len(ends) else "."
    if bent := int(runs["bent"].sum()):
        text += f" Open: the window's halves differ by more than half of A ({bent} runs)."
    if spread := constant_spread(runs):
        text += f" The constant lies between {spread['smallest']:.3g} and {spread['largest']:.3g}."
    if missing := missing_slopes(runs):
        text += f" Without a slope (crosses): {'; '.join(missing)}."
    return text + (f" {len(slopes) - len(runs)} runs belong to no panel." if len(slopes) > len(runs) else "")
