"""Activation lengths against layer: of one run at initialization and at the end, and of an ensemble of nets."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from start_training.figures.axes import panels

TITLE_WIDTH = 66  # characters
MARKED = 25  # layers whose mean has a marker and error bars, which would else run into each other


def draw_mean_length(
    initial: ArrayLike,
    final: ArrayLike,
    predicted_log: ArrayLike | None = None,
    *,
    deviation: ArrayLike | None = None,
    last_step: int,
    title: str = "",
) -> Figure:
    """Natural log of the mean length of layers 0 … d of one run. A dead or exploded layer leaves a gap.

    Args:
        initial: Mean lengths at step 0, shape (d + 1,).
        final: Likewise at the last step.
        predicted_log: log E[M_j] at initialization, drawn over the measurement, shape (d + 1,).
        deviation: Standard deviation of the length over the initial batch's samples, drawn as a band, shape (d + 1,).
        last_step: For the legend.
        title: Above the panel.
    """
    lines = textwrap.wrap(title, TITLE_WIDTH)
    figure = Figure(figsize=(5.0, 3.4))
    axes = figure.subplots()
    # Fixed margins: to find them from what is drawn takes longer than all else, and every job of a sweep waits for it.
    figure.subplots_adjust(left=0.13, right=0.97, bottom=0.14, top=0.97 - 0.045 * len(lines))
    initial, final = np.asarray(initial, float), np.asarray(final, float)
    layers = np.arange(len(initial))
    if deviation is not None:
        low, high = initial - np.asarray(deviation, float), initial + np.asarray(deviation, float)
        band: dict[str, Any] = {"color": "C0", "alpha": 0.15, "lw": 0, "label": "± one s.d. over samples"}
        axes.fill_between(layers, _log(np.maximum(low, initial / 10)), _log(high), **band)
    axes.plot(layers, _log(initial), "o-", color="C0", ms=4, lw=1.2, label="at initialization (step 0)")
    axes.plot(layers, _log(final), "s-", color="C1", ms=4, lw=1.2, label=f"at the end (step {last_step})")
    if predicted_log is not None:
        axes.plot(layers, predicted_log, "--", color="black", lw=1.4, label="theory, at initialization")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("\n".join(lines), fontsize=9)
    _decorate(axes, r"$\log\,\mathrm{mean}\ M_j$")
    return figure


def draw_simulation(layers: pd.DataFrame, *, nets: int, title: str = "") -> Figure:
    """log(M_j / M_0) of an ensemble of nets at initialization, against j.

    Band: 5 to 95% of the living nets; points: log of the mean over all nets, ± one standard error; dashed: that
    mean as predicted; dotted: the 5, 50 and 95% quantiles of the exact law, where weights are Gaussian.

    Args:
        layers: Of `start_training.ensembles.layer_table`.
        nets: How many there are.
        title: Above the panel.
    """
    figure, [[axes]] = panels(1, 1, size=(5.0, 3.4))
    j = layers["layer"]
    axes.fill_between(j, layers["low"], layers["high"], color="C0", alpha=0.2, lw=0, label=f"5–95% of {nets:,} nets")
    axes.plot(j, layers["median"], color="C0", lw=1.2, label="median")
    shown = layers.iloc[np.unique(np.linspace(0, len(layers) - 1, MARKED).astype(int))]
    points = {"fmt": "o", "ms": 3, "color": "C1", "lw": 1, "label": "mean ± s.e."}
    axes.errorbar(shown["layer"], shown["log_mean"], yerr=shown["log_mean_error"], **points)
    if "median_law" in layers:
        for quantile, label in (("low", "exact law"), ("median", None), ("high", None)):
            axes.plot(j, layers[f"{quantile}_law"], ":", color="black", lw=1, label=label)
    if "log_mean_theory" in layers:
        axes.plot(j, layers["log_mean_theory"], "--", color="black", lw=1.4, label="theory, mean")
    dead = layers["dead"].iloc[-1]
    axes.set_title(f"{title}\n{dead:.1%} of nets dead in the last layer" if dead else title, fontsize=9, wrap=True)
    _decorate(axes, r"$\log\,(M_j/M_0)$")
    return figure


def _decorate(axes: Axes, quantity: str) -> None:
    axes.set(xlabel="layer $j$", ylabel=quantity + r",  $M_j=\|\mathrm{act}_j\|^2/n_j$")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)


def _log(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    positive = np.isfinite(lengths) & (lengths > 0)
    return np.where(positive, np.log(np.where(positive, lengths, 1.0)), np.nan)
