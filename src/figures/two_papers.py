"""log χ of the weights and the measured growth of activation lengths during training."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from start_training.analysis.chi_and_growth import RATES, mean_rates, rates_over_seeds
from start_training.analysis.columns import check_column
from start_training.figures import draws
from start_training.figures.axes import colours, draw_mean, finish, handle, panels
from start_training.figures.labels import label

MEANING = (
    "Means over the later half of the layers; lengths M are of a training batch. χ = J² E[φ′(√q z)²] with "
    "q = J² M + Var b is the factor by which a layer with random weights of the same variance multiplies squared "
    "perturbations and gradients; for a homogeneous φ and zero biases also the length. On the diagonal, log χ equals "
    "the growth of lengths."
)


@draws("growth")
def draw_two_papers(table: pd.DataFrame, *, by: str = "initializer", title: str = "") -> Figure:
    """Draw log χ of the weights and the growth of lengths per layer, log(M_l / M_{l−1}), in a column per activation.

    Top: both against optimizer steps, mean over seeds ± one standard error. Bottom: the growth of lengths against
    log χ, with a line for each seed from initialization (open) to the end of training (filled), and the diagonal.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719) and Zhang et al. 2021 (arXiv:2107.09437); see `mean_rates`.

    Args:
        table: Result of `sweep_curves` with kind `growth`.
        by: Column whose values distinguish the colours.
        title: Title above the panels.

    Raises:
        ValueError: the table has no column `by`, or no rows of a known activation with finite lengths above 0.
    """
    check_column("by", by, table)
    rates = mean_rates(table.assign(option=table[by].map(label)))
    palette, activations = colours(rates["option"]), list(dict.fromkeys(rates["activation"]))
    figure, grid = panels(2, len(activations), size=(2.4 + 3.4 * len(activations), 6.6), sharex="row", sharey=True)
    for (above, below), activation in zip(grid.T, activations, strict=True):
        of_activation = rates[rates["activation"] == activation]
        for option, rows in of_activation.groupby("option", sort=False):
            _draw_course(above, rows, palette[option])
            _draw_plane(below, rows, palette[option])
        above.set_title(label(activation), fontsize=10)
        above.set_xlabel("optimizer steps")
        below.set_xlabel("log χ of the weights, nats per layer")
        below.axline((0, 0), slope=1, color="0.6", lw=0.8, zorder=0)
        for axes in (above, below):
            axes.axhline(0, color="0.85", lw=0.8, zorder=0)
    grid[0, 0].set_ylabel("nats per layer")
    grid[1, 0].set_ylabel("growth of lengths, nats per layer")
    return finish(figure, title, _handles(palette), caption=" ".join([MEANING, *_equal_options(rates)]))


def _draw_course(axes: Axes, rows: pd.DataFrame, colour: Any) -> None:
    means = rates_over_seeds(rows)
    for name, ls in zip(RATES, ("-", "--"), strict=True):
        marker = "o" if len(means) == 1 else ""
        error = means[f"{name}_error"]
        draw_mean(axes, means["step"], means[name], error, ls=ls, color=colour, lw=1.3, marker=marker, ms=4)


def _draw_plane(axes: Axes, rows: pd.DataFrame, colour: Any) -> None:
    for _, run in rows.groupby("directory", sort=False):
        axes.plot(run["log_chi"], run["log_growth"], color=colour, lw=0.8, alpha=0.7)
        axes.plot(*run[RATES].iloc[0], "o", color=colour, mfc="white", ms=5, mew=1.2)
        axes.plot(*run[RATES].iloc[-1], "o", color=colour, ms=5)


def _equal_options(rates: pd.DataFrame) -> list[str]:
    """List, for each activation, the options whose curves coincide because they drew the same weights."""
    sentences = []
    for activation, rows in rates.groupby("activation", sort=False):
        alike: dict[tuple[float, ...], list[str]] = {}
        for option, of_option in rows.groupby("option", sort=False):
            alike.setdefault(tuple(of_option["log_growth"]), []).append(str(option))
        sentences += [
            f"{label(activation)}: the curves of {' and '.join(names)} coincide."
            for names in alike.values()
            if len(names) > 1
        ]
    return sentences


def _handles(palette: Mapping[str, Any]) -> list[Line2D]:
    point: dict[str, Any] = {"color": "0.3", "ls": "", "marker": "o", "ms": 5}
    return [
        *(handle(option, color=colour, lw=3) for option, colour in palette.items()),
        handle("log χ of the weights", color="0.3", ls="-"),
        handle("growth of lengths", color="0.3", ls="--"),
        handle("initialization", mfc="white", **point),
        handle("end of training", **point),
    ]
