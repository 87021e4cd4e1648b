"""Failure mode 2: the variance of lengths over nets and over layers, against depth and against beta."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from start_training.figures.axes import draw_points, finish, handle, panels
from start_training.figures.labels import label
from start_training.figures.mean_length_depth import last_layers

CAPTION = (
    "Top: second moment of $M_d$ over nets, relative to the squared mean. It is estimated from second moments of the "
    "ratios of lengths of successive layers (residual nets: of the lengths), because the sample variance of $M_d$ is "
    "unreliable unless beta is small. Bottom: logarithm of the relative variance of lengths over the layers of a net, "
    "mean over nets. Bars: one standard error. Dashed: Gaussian weights; top: theory (residual nets: to first order in "
    "1/width), bottom: sampled from the exact distribution of lengths."
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
    """Draw the variance of M_d over nets (top) and of M_1 … M_d over layers (bottom), both as logarithms.

    The left panels are against depth d, the right ones against beta = Σ 1/n_j, without architectures that have no beta.

    Args:
        table: Layer tables of a sweep of simulations over `depth` and another setting, with the columns depth and `by`.
        by: Column of the other setting; each of its values has a curve.
        title: Title above the panels.
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
