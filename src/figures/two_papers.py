"""What weights say of the growth of lengths and gradients beside what lengths do, in the course of training."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from start_training.figures.colours import colours
from start_training.figures.labels import label
from start_training.figures.start_of_training import check_column
from start_training.theory.activation import ACTIVATIONS
from start_training.theory.gaussian import gaussian_nodes

TABLE = "growth"  # of `start_training.analysis.sweep_curves.sweep_curves`, which the figure is drawn from
RATES = ["log_chi", "log_growth"]
MEANING = (
    "Means over the later half of the layers; lengths are those of a training batch. χ = J² E[φ′(√q z)²], "
    "q = J² M + Var b: what weights of this spread, were they random, multiply squared perturbations and gradients by, "
    "and squared lengths too where φ is homogeneous and biases are zero. Diagonal: both are equal."
)


def draw_two_papers(table: pd.DataFrame, *, by: str = "initializer", title: str = "") -> Figure:
    """log χ of the weights and the growth of the lengths per layer, log(M_l / M_{l−1}): a column for each activation.

    Above: against optimizer steps, mean over seeds ± one standard error. Below: one against the other, a line for each
    seed, from initialization (open) to the end of training (filled); on the diagonal they are the same. A colour for
    each value of `by`.
    Source: `mean_rates`; Hanin & Rolnick 2018 (arXiv:1803.01719) and Zhang et al. 2021 (arXiv:2107.09437).
    Raises ValueError for a column that the table does not have, or a table without rows of a known activation.
    """
    rates = mean_rates(table, by=by)
    palette, activations = colours(list(dict.fromkeys(rates["option"]))), list(dict.fromkeys(rates["activation"]))
    figure = Figure(figsize=(2.4 + 3.4 * len(activations), 6.6), layout="constrained")
    panels = figure.subplots(2, len(activations), squeeze=False, sharex="row", sharey=True)
    for column, activation in enumerate(activations):
        above, below = panels[:, column]
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
    panels[0, 0].set_ylabel("nats per layer")
    panels[1, 0].set_ylabel("growth of lengths, nats per layer")
    figure.legend(handles=_handles(palette), loc="outside right upper", frameon=False, fontsize=8)
    text = textwrap.fill(" ".join([MEANING, *_same(rates)]), int(17 * figure.get_figwidth()))
    figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def mean_rates(table: pd.DataFrame, *, by: str = "initializer") -> pd.DataFrame:
    """log_chi and log_growth, each a mean over the later half of a net's layers; a row for each run and step.

    Other columns: directory, configuration, option (the label of its `by`), activation, step, final_accuracy. log_chi:
    of chi = J² E[φ′(√q z)²] at the measured q = J² M_{l−1} + Var b. log_growth: log(M_l / M_{l−1}), of mean lengths.
    Raises ValueError as `draw_two_papers`.
    """
    check_column("by", by, table)
    rows = _with_rates(table)
    layers = rows.groupby("directory")["layer"].transform("nunique")
    rows = rows[rows["layer"] >= layers // 2].assign(option=rows[by].map(label)).sort_values("step", kind="stable")
    keys = ["directory", "configuration", "option", "activation", "step", "final_accuracy"]
    return rows.groupby(keys, sort=False, dropna=False)[RATES].mean().reset_index()


def over_seeds(rates: pd.DataFrame) -> pd.DataFrame:
    """A row for each activation, option and step of `mean_rates`: the mean of both, X_error its error, and runs."""
    groups = rates.groupby(["activation", "option", "step"], sort=False)
    errors = groups[RATES].sem().add_suffix("_error")
    return pd.concat([groups[RATES].mean(), errors, groups.size().rename("runs")], axis=1).reset_index()


def _with_rates(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[table["activation"].isin(ACTIVATIONS)] if "activation" in table else table[:0]
    lengths = rows.reindex(columns=["length_before", "length"]).astype(float)
    rows = rows[(lengths.gt(0) & lengths.lt(np.inf)).all(axis=1)]
    if rows.empty:
        raise ValueError("table: holds no layers of a known activation with both a phase and lengths")
    of_activations = [_with_chi(each, str(name)) for name, each in rows.groupby("activation", sort=False)]
    rows = pd.concat(of_activations, ignore_index=True)
    return rows.assign(log_growth=np.log(rows["length"] / rows["length_before"]))


def _with_chi(rows: pd.DataFrame, activation: str) -> pd.DataFrame:
    J2 = rows["J2"].to_numpy(float)
    q = J2 * rows["length_before"].to_numpy(float) + rows["bias_variance"].to_numpy(float)
    x, weights = gaussian_nodes(0.0, np.sqrt(q))
    return rows.assign(log_chi=np.log(J2 * (weights * ACTIVATIONS[activation].derivative(x) ** 2).sum(-1)))


def _draw_course(axes: Axes, rows: pd.DataFrame, colour: Any) -> None:
    means = over_seeds(rows)
    for name, style in zip(RATES, ("-", "--"), strict=True):
        error = means[f"{name}_error"].fillna(0)
        axes.plot(means["step"], means[name], style, color=colour, lw=1.3, marker="o" * (len(means) == 1), ms=4)
        axes.fill_between(means["step"], means[name] - error, means[name] + error, color=colour, alpha=0.2, lw=0)


def _draw_plane(axes: Axes, rows: pd.DataFrame, colour: Any) -> None:
    for _, run in rows.groupby("directory", sort=False):
        axes.plot(run["log_chi"], run["log_growth"], color=colour, lw=0.8, alpha=0.7)
        axes.plot(*run[RATES].iloc[0], "o", color=colour, mfc="white", ms=5, mew=1.2)
        axes.plot(*run[RATES].iloc[-1], "o", color=colour, ms=5)


def _same(rates: pd.DataFrame) -> list[str]:
    """Which options lie on top of each other, since they drew the same weights."""
    said = []
    for activation, rows in rates.groupby("activation", sort=False):
        of_option = {option: tuple(each["log_growth"]) for option, each in rows.groupby("option", sort=False)}
        groups = [
            [name for name in of_option if of_option[name] == values] for values in dict.fromkeys(of_option.values())
        ]
        said += [f"{label(activation)}: {' = '.join(map(str, group))}." for group in groups if len(group) > 1]
    return said


def _handles(palette: dict[str, Any]) -> list[Line2D]:
    ways = [("log χ of the weights", "-"), ("growth of lengths", "--")]
    points: list[tuple[str, dict[str, Any]]] = [("initialization", {"mfc": "white"}), ("end of training", {})]
    return [
        *(Line2D([], [], color=colour, lw=3, label=option) for option, colour in palette.items()),
        *(Line2D([], [], color="0.3", ls=style, label=text) for text, style in ways),
        *(Line2D([], [], color="0.3", ls="", marker="o", ms=5, label=text, **face) for text, face in points),
    ]
