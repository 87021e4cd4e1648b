"""Failure mode 2: how much lengths vary over nets and over layers, against depth and against beta."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from start_training.figures.axes import draw_points, finish, handle, panels
from start_training.figures.labels import label
from start_training.figures.mean_length_depth import last_layers

CAPTION = (
    "Over nets: logarithm of the ratio of moments, from second moments of layer ratios (residual nets: of lengths), "
    "since sample variances of $M_d$ mean nothing beyond small beta. Over layers: mean over nets of the logarithm of "
    "each net's relative variance. Bars: one standard error. Lines: Gaussian weights; over nets in theory "
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

    Two columns: against depth d, and against beta = Σ 1/n_j, for the architectures that have one.

    Args:
        table: Of a sweep of simulations over `depth` and a setting.
        by: That setting.
        title: Above the panels.
    """
    ends, styles = last_layers(table, by)
    figure, grid = panels(2, 2, size=(9.2, 7.2), sharey="row")
    for row, (quantity, name, line) in zip(grid, ROWS, strict=True):
        for axes, x in zip(row, ("depth", "beta"), strict=True):
            for option, curve in ends.groupby(by, sort=False):
                curve = curve[np.isfinite(curve[x].astype(float))] if x in curve else curve[:0]
                if line in curve:
                    axes.plot(curve[x], curve[line], "--", color=styles[option]["color"], lw=1)
                draw_points(axes, curve[x], curve[quantity], curve[f"{quantity}_error"], **styles[option])
        row[0].set_ylabel(name)
    grid[1, 0].set_xlabel("depth $d$")
    grid[1, 1].set_xlabel(r"$\beta=\sum_j 1/n_j$")
    handles = [handle(label(option), ls="", **style) for option, style in styles.items()]
    return finish(figure, title, handles, caption=CAPTION)
