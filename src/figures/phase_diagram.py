"""The phase diagram of a random layer: order and chaos over the plane of J0/J and 1/J, and the edge in theory."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from start_training.order_chaos.asymptotic_distance import SEPARATED, below_edge

Array = NDArray[np.float64]


def draw_phase_diagram(tables: Mapping[str, pd.DataFrame], *, N: int, matrices: int) -> Figure:
    """Panels for `diagram_tanh` (with `boundary`) and `diagram_relu`, the tables of studies/phase_diagram.

    tanh: colour is the asymptotic distance of two states that began 1e-4 apart; solid χ = 1 in theory, for N → ∞;
    dotted the height to which states separate, mean over matrices.
    ReLU: colour is the rate at which a distance grows relative to the state; solid the edge in theory, dashed where
    the state itself keeps its norm, 1/J = exp(rate at J = 1).
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), the phase diagram.
    """
    panels = [(name, draw) for name, draw in (("tanh", _tanh), ("relu", _relu)) if f"diagram_{name}" in tables]
    figure = Figure(figsize=(5.4 * len(panels), 3.9), layout="constrained")
    for axes, (name, draw) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(figure, axes, tables)
        axes.set_xlabel(r"$J_0/J$")
        axes.set_ylabel(r"$1/J$")
        title = {"tanh": r"$x\leftarrow\tanh(Wx)$", "relu": r"$x\leftarrow\mathrm{ReLU}(Wx)$"}[name]
        over = f"{matrices} matrices" if matrices > 1 else "one matrix"
        axes.set_title(f"{title},  $N={N}$, {over}", fontsize=10)
    return figure


def draw_finite_size(distances: pd.DataFrame, transitions: pd.DataFrame) -> Figure:
    """tanh at J0 = 0 for each N: distance against 1/J with theory for N → ∞, and how far from 1 the transition lies.

    Points: mean over matrices ± standard error. Dashed: a power of N through the transitions, by least squares.
    """
    figure = Figure(figsize=(9.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (N, table) in enumerate(distances.groupby("N")):
        style = {"fmt": "o-", "ms": 3, "lw": 0.8, "color": f"C{number}", "label": f"$N={N}$"}
        left.errorbar(table["inverse_J"], table["distance"], yerr=_bars(table["distance_error"]), **style)
    theory = distances.drop_duplicates("inverse_J").sort_values("inverse_J")
    left.plot(theory["inverse_J"], theory["distance_theory"], "k--", lw=1.2, label=r"theory, $N\to\infty$")
    left.set_xlabel(r"$1/J$")
    left.set_ylabel(r"asymptotic distance  $\|x-y\|/\sqrt{N}$")
    left.legend(frameon=False, fontsize=8)
    below = below_edge(transitions["inverse_J"])
    for number, (N, deviation, error) in enumerate(zip(transitions["N"], below, transitions["error"], strict=True)):
        right.errorbar(N, deviation, yerr=_bars(error), fmt="o", ms=4, color=f"C{number}")
    if len(transitions) > 1 and (below > 0).all():
        power, constant = np.polyfit(np.log(transitions["N"]), np.log(below), 1)
        fitted = np.exp(constant) * transitions["N"] ** power
        right.plot(transitions["N"], fitted, "k--", lw=1, label=rf"$\propto N^{{{power:.2f}}}$")
        right.legend(frameon=False, fontsize=8)
    right.set(xscale="log", yscale="log")
    right.set_xticks(transitions["N"], [f"{N:,}" for N in transitions["N"]])
    right.xaxis.set_minor_locator(NullLocator())
    right.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    right.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    right.yaxis.set_minor_locator(NullLocator())
    right.set_xlabel(r"$N$")
    right.set_ylabel(r"$1-1/J$ of the transition")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _tanh(figure: Figure, axes: Axes, tables: Mapping[str, pd.DataFrame]) -> None:
    x, y, colours = _grid(tables["diagram_tanh"], "distance")
    mesh = axes.pcolormesh(x, y, colours, cmap="viridis", vmin=0, rasterized=True)
    figure.colorbar(mesh, ax=axes, label=r"asymptotic distance  $\|x-y\|/\sqrt{N}$")
    edge = tables["boundary"]
    axes.plot(edge["J0_over_J"], edge["inverse_J_theory"], color="white", lw=1.8)
    axes.plot(edge["J0_over_J"], edge["inverse_J_simulated"], ":", color="white", lw=1.2)
    _limit(axes, x, y)
    theory = Line2D([], [], color="white", lw=1.8, label=r"theory, $\chi=1$, $N\to\infty$")
    simulated = Line2D([], [], color="white", ls=":", lw=1.2, label=f"distance above {SEPARATED:g}")
    axes.legend(handles=[theory, simulated], loc="upper right", fontsize=8, frameon=False, labelcolor="white")


def _relu(figure: Figure, axes: Axes, tables: Mapping[str, pd.DataFrame]) -> None:
    table = tables["diagram_relu"]
    x, y, colours = _grid(table, "growth")
    mesh = axes.pcolormesh(x, y, colours, cmap="RdBu_r", norm=CenteredNorm(0), rasterized=True)
    figure.colorbar(mesh, ax=axes, label="growth of relative distance (nats per iteration)")
    axes.axvline(0, color="black", lw=1.8)
    row = table[table["inverse_J"] == table["inverse_J"].iloc[0]]
    kept = np.exp(row["norm_growth_theory"]) * row["inverse_J"]
    axes.plot(row["J0_over_J"], kept, "--", color="black", lw=1.2)
    _limit(axes, x, y)
    edge = Line2D([], [], color="black", lw=1.8, label="theory, edge of chaos")
    norm = Line2D([], [], color="black", ls="--", lw=1.2, label="theory, state keeps its norm")
    axes.legend(handles=[edge, norm], loc="upper right", fontsize=8)


def _grid(table: pd.DataFrame, name: str) -> tuple[Array, Array, Array]:
    """Centres of columns and rows, and the values at them."""
    grid = table.pivot(index="inverse_J", columns="J0_over_J", values=name)
    return grid.columns.to_numpy(), grid.index.to_numpy(), grid.to_numpy()


def _limit(axes: Axes, x: Array, y: Array) -> None:
    """To the edges of the bins, whose centres these are."""
    for set_limits, centres in ((axes.set_xlim, x), (axes.set_ylim, y)):
        half = (centres[1] - centres[0]) / 2 if len(centres) > 1 else 0.5
        set_limits(centres[0] - half, centres[-1] + half)


def _bars(error: object) -> object:
    """None where a single matrix has no error."""
    return None if np.isnan(np.asarray(error, np.float64)).any() else error
