"""The phase diagram of a random layer: order and chaos over the plane of J0/J and 1/J, with the theoretical edge."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from start_training.analysis.power_law import power_law
from start_training.figures.axes import handle, panels, plain_ticks
from start_training.order_chaos.asymptotic_distance import SEPARATED, below_edge


def draw_phase_diagram(tables: Mapping[str, pd.DataFrame], *, N: int, matrices: int) -> Figure:
    """Draw order and chaos over J0/J and 1/J, with one panel for tanh and one for ReLU if their tables are given.

    tanh: The colour is the asymptotic distance of two states that are initially 1e-4 apart. Solid: χ = 1, the edge of
    chaos in theory for N → ∞; dotted: the largest 1/J at which the states separate, mean over matrices.
    ReLU: The colour is the growth rate of the distance relative to the state. Solid: the edge of chaos in theory;
    dashed: where the state keeps its norm, 1/J = exp(growth rate of the norm at J = 1).
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the phase diagram.

    Args:
        tables: Tables by name: `diagram_tanh` together with `boundary`, and `diagram_relu`.
        N: Number of units of the layer, for the titles.
        matrices: Number of random matrices, for the titles.
    """
    kinds = [kind for kind in PANELS if f"diagram_{kind}" in tables]
    figure, [all_axes] = panels(1, len(kinds), size=(5.4 * len(kinds), 3.9))
    over = f"{matrices} matrices" if matrices > 1 else "one matrix"
    for axes, kind in zip(all_axes, kinds, strict=True):
        title, draw = PANELS[kind]
        draw(figure, axes, tables)
        axes.spines[["top", "right"]].set_visible(True)
        axes.set(xlabel=r"$J_0/J$", ylabel=r"$1/J$")
        axes.set_title(f"{title},  $N={N}$, {over}", fontsize=10)
    return figure


def draw_finite_size(distances: pd.DataFrame, transitions: pd.DataFrame) -> Figure:
    """Draw the effect of the layer's size N on the transition to chaos, for tanh at J0 = 0.

    Left: asymptotic distance against 1/J for each N, mean over matrices ± standard error; dashed: theory for N → ∞.
    Right: 1 − 1/J at the transition against N; dashed: a power law fitted by least squares.

    Args:
        distances: Columns N, inverse_J, distance, distance_error, distance_theory.
        transitions: Columns N, inverse_J (1/J at the transition), error (its standard error).
    """
    figure, [[left, right]] = panels(1, 2, size=(9.4, 3.6))
    for number, (N, table) in enumerate(distances.groupby("N")):
        style = {"fmt": "o-", "ms": 3, "lw": 0.8, "color": f"C{number}", "label": f"$N={N}$"}
        left.errorbar(table["inverse_J"], table["distance"], yerr=_bars(table["distance_error"]), **style)
    theory = distances.drop_duplicates("inverse_J").sort_values("inverse_J")
    left.plot(theory["inverse_J"], theory["distance_theory"], "k--", lw=1.2, label=r"theory, $N\to\infty$")
    left.set(xlabel=r"$1/J$", ylabel=r"asymptotic distance  $\|x-y\|/\sqrt{N}$")
    left.legend(frameon=False, fontsize=8)
    below = below_edge(transitions["inverse_J"])
    for number, (N, deviation, error) in enumerate(zip(transitions["N"], below, transitions["error"], strict=True)):
        right.errorbar(N, deviation, yerr=_bars(error), fmt="o", ms=4, color=f"C{number}")
    if len(transitions) > 1 and (below > 0).all():
        power, fitted = power_law(transitions["N"], below)
        right.plot(transitions["N"], fitted, "k--", lw=1, label=rf"$\propto N^{{{power:.2f}}}$")
        right.legend(frameon=False, fontsize=8)
    right.set(xscale="log", yscale="log", xlabel=r"$N$", ylabel=r"$1-1/J$ of the transition")
    right.set_xticks(transitions["N"], [f"{N:,}" for N in transitions["N"]])
    right.xaxis.set_minor_locator(NullLocator())
    plain_ticks(right.yaxis, subs=(1, 1.5, 2, 3, 5, 7))
    return figure


def _tanh(figure: Figure, axes: Axes, tables: Mapping[str, pd.DataFrame]) -> None:
    mesh = _draw_grid(axes, tables["diagram_tanh"], "distance", cmap="viridis", vmin=0)
    figure.colorbar(mesh, ax=axes, label=r"asymptotic distance  $\|x-y\|/\sqrt{N}$")
    edge, white = tables["boundary"], dict[str, Any](color="white")
    axes.plot(edge["J0_over_J"], edge["inverse_J_theory"], lw=1.8, **white)
    axes.plot(edge["J0_over_J"], edge["inverse_J_simulated"], ":", lw=1.2, **white)
    theory = handle(r"theory, $\chi=1$, $N\to\infty$", lw=1.8, **white)
    simulated = handle(f"edge of distance > {SEPARATED:g}", ls=":", lw=1.2, **white)
    axes.legend(handles=[theory, simulated], loc="upper right", fontsize=8, frameon=False, labelcolor="white")


def _relu(figure: Figure, axes: Axes, tables: Mapping[str, pd.DataFrame]) -> None:
    table = tables["diagram_relu"]
    mesh = _draw_grid(axes, table, "growth", cmap="RdBu_r", norm=CenteredNorm(0))
    figure.colorbar(mesh, ax=axes, label="growth of relative distance (nats per iteration)")
    axes.axvline(0, color="black", lw=1.8)
    row = table[table["inverse_J"] == table["inverse_J"].iloc[0]]
    constant_norm = np.exp(row["norm_growth_theory"]) * row["inverse_J"]
    axes.plot(row["J0_over_J"], constant_norm, "--", color="black", lw=1.2)
    edge = handle("theory, edge of chaos", color="black", lw=1.8)
    norm = handle("theory, norm of the state is constant", color="black", ls="--", lw=1.2)
    axes.legend(handles=[edge, norm], loc="upper right", fontsize=8)


PANELS = {  # for each activation, the title of its panel and the function that draws it
    "tanh": (r"$x\leftarrow\tanh(Wx)$", _tanh),
    "relu": (r"$x\leftarrow\mathrm{ReLU}(Wx)$", _relu),
}


def _draw_grid(axes: Axes, table: pd.DataFrame, name: str, **colours: Any) -> Any:
    """Draw the values of a column as colours of bins; the table holds the centres, the axes end at the outer edges."""
    grid = table.pivot(index="inverse_J", columns="J0_over_J", values=name)
    x, y = grid.columns.to_numpy(float), grid.index.to_numpy(float)
    mesh = axes.pcolormesh(x, y, grid.to_numpy(), rasterized=True, **colours)
    for set_limits, centres in ((axes.set_xlim, x), (axes.set_ylim, y)):
        half = (centres[1] - centres[0]) / 2 if len(centres) > 1 else 0.5
        set_limits(centres[0] - half, centres[-1] + half)
    return mesh


def _bars(error: object) -> object:
    """Return the errors, or None if any is NaN, since a single matrix has no standard error."""
    return None if np.isnan(np.asarray(error, np.float64)).any() else error
