"""Failure mode 2: how much lengths vary over nets and over layers, against depth and against beta."""

from collections.abc import Hashable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from start_training.figures.labels import label
from start_training.figures.mean_length_depth import MARKERS

CAPTION = (
    "Over nets: logarithm of the ratio of moments, from second moments of layer ratios (residual nets: of lengths), "
    "since sample\nvariances of $M_d$ mean nothing beyond small beta. Over layers: mean over nets of the logarithm of "
    "each net's relative variance.\nBars: one standard error. Lines: Gaussian weights; over nets in theory "
    "(residual nets: first order in 1/width), over layers by the exact law."
)
ROWS = (  # quantity, its axis label, and the column of its line
    ("log_moment_ratio", r"$\log\,(\mathbb{E}[M_d^2]\,/\,\mathbb{E}[M_d]^2)$", "log_moment_ratio_high_theory"),
    (
        "log_layer_variance",
        r"$\mathbb{E}\,\log\,(\mathrm{Var}_j M_j\,/\,\mathrm{mean}_j(M_j)^2)$",
        "log_layer_variance_law",
    ),
)


def draw_length_variance(table: pd.DataFrame, *, by: str = "family", title: str = "") -> Figure:
    """Two rows: relative variance of M_d over nets, relative variance of M_1 … M_d over layers; logarithms of both.

    Two columns: against depth d, and against beta = Σ 1/n_j, for the architectures that have one. From the table of
    a sweep over `depth` and the setting `by`.
    """
    options = {option: number for number, option in enumerate(table[by].unique())}
    ends = table[table["layer"] == table["depth"]].sort_values("depth", kind="stable")
    figure = Figure(figsize=(9.2, 7.2), layout="constrained")
    grid = figure.subplots(2, 2, sharey="row")
    for row, (quantity, name, line) in zip(grid, ROWS, strict=True):
        for axes, x in zip(row, ("depth", "beta"), strict=True):
            for option, curve in ends.groupby(by, sort=False):
                _draw_curve(axes, curve, x, quantity, line, options[option])
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(name)
    grid[1, 0].set_xlabel("depth $d$")
    grid[1, 1].set_xlabel(r"$\beta=\sum_j 1/n_j$")
    figure.legend(handles=_legend(options), loc="outside right upper", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(CAPTION, fontsize=8, x=0.01, ha="left")
    return figure


def _draw_curve(axes: Axes, curve: pd.DataFrame, x: str, quantity: str, line: str, number: int) -> None:
    curve = curve[np.isfinite(curve[x].astype(float))] if x in curve else curve[:0]
    if curve.empty:
        return
    color = f"C{number}"
    if line in curve:
        axes.plot(curve[x], curve[line], "--", color=color, lw=1)
    axes.errorbar(
        curve[x],
        curve[quantity],
        yerr=curve[f"{quantity}_error"],
        fmt=MARKERS[number % len(MARKERS)],
        ms=4.5,
        mfc="none",
        color=color,
        elinewidth=1,
        capsize=2,
    )


def _legend(options: dict[Hashable, int]) -> list[Line2D]:
    return [
        Line2D(
            [], [], marker=MARKERS[number % len(MARKERS)], ls="", mfc="none", color=f"C{number}", label=label(option)
        )
        for option, number in options.items()
    ]
