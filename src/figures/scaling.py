"""The slope A of J² against eta, 1/(1 − alpha) and 1/B: the scaling law of training time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator, StrMethodFormatter

from start_training.analysis.phase_curves import layer_rows, run_counts, with_scaling
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
    """Draw the slope A against each of eta, 1/(1 − alpha) and 1/B that varies, and the constant A (1 − alpha) B / eta.

    Points: mean over seeds ± one standard error, open if J² of a run is not linear in the window; crosses at the
    bottom: values at which a run has no slope. Solid: A ∝ x^p, fitted to the means, with p and its 95% interval;
    dashed: p = 1, the scaling law, through the geometric mean of the points. Last panel: the constant of each run
    against its scaling variable, with mean and standard deviation. The caption names the window, the runs without a
    slope, and the reasons.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), A ∝ eta / ((1 − alpha) B).

    Args:
        table: Result of `sweep_curves` with kind `phase`; a column `vary` assigns runs to panels (`settings_of_law`).
        window: Range over which the line is fitted to J²; see `phase_slopes`.
        window_in: Unit of `window`; see `phase_slopes`.
        layer: Number of the layer; None selects the first square layer.
        title: Title above the panels.

    Raises:
        ValueError: none of the three settings varies while the other two are constant, the window is invalid, or the
            table has no finite J or no known scaling variable.
    """
    rows = with_scaling(layer_rows(table, layer))
    slopes = phase_slopes(rows, window=window, window_in=window_in, layer=layer)
    settings, fitted = settings_of_law(slopes), exponents(slopes)
    if not settings:
        raise ValueError(
            "table: none of optimizer.lr, optimizer.momentum and datamodule.batch_size varies while the other two are "
            "constant; add runs with at least two values of one of them"
        )
    figure, [[*all_axes, last]] = panels(1, len(settings) + 1, size=(2.9 * (len(settings) + 1), 3.6))
    _share_slopes(all_axes)
    for axes, (name, runs) in zip(all_axes, settings.items(), strict=True):
        _draw_setting(axes, runs, name, fitted[name])
    all_axes[0].set_ylabel("slope $A$ of $J^2$, per epoch")
    _draw_constant(last, settings)
    low, high = all_axes[0].get_ylim()
    all_axes[0].set_ylim(low, high * (high / low) ** 0.25)  # leaves room for the legends
    return finish(figure, title, caption=_caption(slopes, settings, window_rule(window, window_in)))


def missing_slopes(runs: pd.DataFrame) -> list[str]:
    """List the reasons why runs have no slope above 0.

    Args:
        runs: Result of `phase_slopes`.

    Returns:
        A line for each reason: the reason, followed by the settings of its runs, each with their number in parentheses.
    """
    reasons: dict[str, Counter[str]] = {}
    for _, row in runs[~(runs["slope"] > 0)].iterrows():
        setting = " ".join(f"{letter} {row[name]:g}" for name, letter in NAMES.items() if np.isfinite(row[name]))
        reasons.setdefault(_reason(row), Counter())[setting] += 1
    return [
        f"{reason}: {', '.join(f'{setting} ({count})' for setting, count in settings.items())}"
        for reason, settings in reasons.items()
    ]


def exponent_text(exponent: Exponent | None) -> str:
    """Write an exponent p with its confidence interval."""
    if exponent is None:
        return "fewer than 3 values"
    return f"$p$ = {exponent.value:.3f} [{exponent.low:.3f}, {exponent.high:.3f}]"


def _reason(row: "pd.Series[Any]") -> str:
    if np.isfinite(row["slope"]):
        return "J² did not grow"
    if row["edge_epoch"] == 0:
        return "J² is at least 1 from the beginning"
    if np.isfinite(row["edge_epoch"]):
        return "J² reached 1 before the window had 3 epochs"
    return "less than 3 epochs measured in the window" if "measure" in row["reason"] else str(row["reason"])


def _share_slopes(all_axes: Sequence[Axes]) -> None:
    for axes in all_axes:
        axes.set(xscale="log", yscale="log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in all_axes[1:]:
        axes.sharey(all_axes[0])
        axes.tick_params(labelleft=False, which="both")


def _draw_setting(axes: Axes, runs: pd.DataFrame, name: str, exponent: Exponent | None) -> None:
    points, values, colour = law_points(runs, name), law_variable(name, runs[name]), COLOURS[name]
    axes.set(xlim=(values.min() / 1.4, values.max() * 1.4), xlabel=AXES[name])
    for bent, face in ((False, colour), (True, "white")):
        rows = points[(points["bent"] > 0) == bent]
        marked: dict[str, Any] = {"marker": MARKERS[name], "mfc": face, "color": colour, "zorder": 3}
        draw_points(axes, rows["x"], rows["slope"], rows["error"].fillna(0), **marked)
    if len(points):
        axes.plot(points["x"], law_through_middle(points), "--", color="0.5", lw=1)
        if exponent is not None:
            axes.plot(points["x"], law_through_middle(points, exponent.value), "-", color=colour, lw=1)
        lines = [handle(exponent_text(exponent), color=colour, lw=1)]
        lines.append(handle("scaling law, $p$ = 1", color="0.5", ls="--", lw=1))
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
        mean, sd, relative_sd = spread["mean"], spread["sd"], spread["relative_sd"]
        axes.axhline(mean, color="0.4", lw=1, zorder=0)
        axes.axhspan(mean - sd, mean + sd, color="0.5", alpha=0.15, lw=0, zorder=0)
        axes.set_title(
            f"mean {mean:.3g}, standard deviation {100 * relative_sd:.0f}%, {spread['runs']} runs", fontsize=7
        )
    axes.set(xscale="log", xlabel=r"$\eta/((1-\alpha)B)$", ylabel=r"$A\,(1-\alpha)B/\eta$, per epoch")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.25 * max(float(runs["constant"].max()), 1e-9) if runs["constant"].notna().any() else 1)
    points = [
        handle(f"{NAMES[name]} varies", ls="", marker=MARKERS[name], color=COLOURS[name], ms=3.5) for name in settings
    ]
    axes.legend(handles=points, frameon=False, fontsize=7, loc="lower right")


def _caption(slopes: pd.DataFrame, settings: Mapping[str, pd.DataFrame], rule: str) -> str:
    runs = pd.concat(settings.values()).drop_duplicates("directory")
    text = f"{seeds_text(run_counts(runs))} {CONFIDENCE:.0%} confidence intervals. A is fitted over {rule}"
    ends = runs["J2_at_end"].dropna()
    text += f"; J² at the end of this window: {ends.min():.2g} to {ends.max():.2g}." if len(ends) else "."
    if bent := int(runs["bent"].sum()):
        text += f" Open: the slopes of the window's halves differ by more than half of A ({bent} runs)."
    if spread := constant_spread(runs):
        text += f" The constant lies between {spread['smallest']:.3g} and {spread['largest']:.3g}."
    if missing := missing_slopes(runs):
        text += f" Crosses, settings (number of runs) without a slope: {'; '.join(missing)}."
    return text + (f" {len(slopes) - len(runs)} runs are not shown." if len(slopes) > len(runs) else "")
