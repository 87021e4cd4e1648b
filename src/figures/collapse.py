"""Curves of J², test loss and accuracy in epochs and in rescaled time, which coincide where the scaling law holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from start_training.analysis.collapse import GROWTH, QUANTITIES, TIMES, collapse, scaling_group, spread_in_time
from start_training.analysis.phase_curves import layer_rows, mean_curves, run_counts, with_scaling
from start_training.figures import draws
from start_training.figures.axes import CYCLE, colours, draw_mean, finish, handle, panels
from start_training.figures.labels import plus_minus, seeds_text
from start_training.order_chaos.weight_decay_guideline import crossing

LABELS = {"epoch": "epochs", "rescaled": r"rescaled time, epochs × $\eta/((1-\alpha)B)$"}
STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))  # for configurations with the same scaling variable
COMPARED = {
    ("all", "epoch"): "at equal epochs",
    ("all", "rescaled"): "at equal rescaled time",
    ("equal", "epoch"): "between runs with equal scaling variables",
}
EDGE: dict[str, Any] = {"marker": "o", "ms": 4, "mfc": "white", "mew": 1, "ls": "", "zorder": 4}


@draws("phase")
def draw_collapse(table: pd.DataFrame, *, layer: int | None = None, title: str = "") -> Figure:
    """Draw J², test loss and test accuracy against epochs and against rescaled time, epochs × eta/((1 − alpha) B).

    Each configuration has a curve, the mean over seeds with a band of ± one standard error; configurations with the
    same scaling variable share a colour. Circles mark J² = 1. The panels at the right show the spread between
    configurations (`spread_in_time`), shaded where the mean of J² is at least 1. The caption gives the spread of J²
    before and after rescaling, in both phases.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437): the curves collapse as long as J < 1.

    Args:
        table: Result of `sweep_curves` with kind `phase`.
        layer: Number of the layer; None selects the first square layer.
        title: Title above the panels.

    Raises:
        ValueError: the table has no such layer, no finite J or no known scaling variable.
    """
    rows = with_scaling(layer_rows(table, layer))
    means = mean_curves(rows, ["J2", *list(QUANTITIES)[1:], "rescaled"])
    means = means.assign(group=scaling_group(means).map("{:.3g}".format))
    palette = colours(sorted(means["group"].unique(), key=float))
    figure, grid = panels(2, 4, size=(13.2, 5.8))
    for line, time in zip(grid, TIMES, strict=True):
        for axes, quantity in zip(line, QUANTITIES, strict=False):
            _draw_curves(axes, means, time, quantity, palette)
        _draw_spreads(line[3], rows, time)
        for axes in line:
            axes.set_xlabel(LABELS[time])
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    return finish(figure, title, _handles(means, palette), caption=_caption(rows))


def spread_text(spreads: pd.DataFrame, quantity: str = "J2") -> str:
    """Describe in words the spread before and after rescaling, in the ordered phase and past the edge of chaos.

    Args:
        spreads: Result of `start_training.analysis.collapse.collapse`.
        quantity: A value of its column quantity.
    """
    of_quantity = spreads[spreads["quantity"] == quantity].set_index(["phase", "runs", "time"])
    percent = {key: 100 * row for key, row in of_quantity[["spread", "error"]].iterrows()}
    parts = []
    for phase, words in (("ordered", "in the ordered phase"), ("past", "past the edge of chaos")):
        texts = [
            f"{plus_minus(percent[phase, *key]['spread'], percent[phase, *key]['error'], '.1f', '.1f')}% {name}"
            for key, name in COMPARED.items()
            if (phase, *key) in percent
        ]
        parts += [f"{words} {', '.join(texts)}"] if texts else []
    return "; ".join(parts)


def _draw_curves(axes: Axes, means: pd.DataFrame, time: str, quantity: str, palette: Mapping[str, Any]) -> None:
    for group, of_group in means.groupby("group", sort=False):
        for number, (_, curve) in enumerate(of_group.groupby("configuration", sort=False)):
            known, colour = curve[curve[quantity].notna()], palette[str(group)]
            x, y, error = (known[name].to_numpy(float) for name in (time, quantity, f"{quantity}_error"))
            draw_mean(axes, x, y, error, ls=STYLES[number % len(STYLES)], color=colour, lw=1.2)
            edge = crossing(curve[time].to_numpy(float), curve["J2"].to_numpy(float))
            if np.isfinite(edge) and len(x):
                axes.plot([edge], [np.interp(edge, x, y)], color=colour, **EDGE)
    if quantity == "J2":
        axes.axhline(1, color="0.5", lw=0.8, ls="--", zorder=0)
    if quantity == "test/accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlim=(0, max(float(means[time].max()), 1e-9) * 1.03), ylabel=QUANTITIES[quantity])


def _draw_spreads(axes: Axes, rows: pd.DataFrame, time: str) -> None:
    for (quantity, name), colour in zip(QUANTITIES.items(), CYCLE, strict=False):
        spread = spread_in_time(rows, time, quantity)
        axes.plot(spread["time"], spread["spread"], color=colour, lw=1.3, label=name)
        if quantity == "J2" and len(past := spread[spread["mean"] >= 1]):
            axes.axvspan(past["time"].iloc[0], past["time"].iloc[-1], color="0.92", lw=0, zorder=0)
    shared = spread["time"] if len(spread) else rows[time]
    axes.set(xlim=(0, max(float(shared.max()), 1e-9) * 1.03), ylabel="standard deviation / mean of curves")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, fontsize=7)


def _handles(means: pd.DataFrame, palette: Mapping[str, Any]) -> list[Line2D]:
    handles = []
    for group, colour in palette.items():
        handles.append(handle(rf"$\eta/((1-\alpha)B)$ = {group}", ls=""))
        settings = means[means["group"] == group].drop_duplicates("configuration")
        for number, (_, row) in enumerate(settings.iterrows()):
            text = rf"$\eta$ {row['eta']:g}, $\alpha$ {row['alpha']:g}, $B$ {row['batch']:g}"
            handles.append(handle(text, color=colour, ls=STYLES[number % len(STYLES)], lw=1.2))
    return [*handles, handle("$J^2$ = 1", color="0.4", **EDGE)]


def _caption(rows: pd.DataFrame) -> str:
    seeds, spreads = seeds_text(run_counts(rows)), collapse(rows)
    if not (text := spread_text(spreads)):
        return f"{seeds} The curves have no time in common at which they could be compared."
    noise = spreads.loc[(spreads["quantity"] == "J2") & (spreads["runs"] == "all"), "noise"].max()
    between = f" Seeds of one configuration differ by up to {100 * noise:.1f}%." if np.isfinite(noise) else ""
    return (
        f"{seeds} Spread of J² between configurations (standard deviation / mean, root mean square over time): "
        f"{text}.{between} Spread of the growth rate of J²: {spread_text(spreads, GROWTH)}."
    )
