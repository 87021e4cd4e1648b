"""Activation lengths against layer, for one run at initialization and at its end, and for an ensemble of nets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from start_training.figures.axes import fit_left_margin, panels, stacked_panels

MARKED = 25  # largest number of layers drawn with a marker and error bars, so that these do not overlap


def draw_mean_length(
    initial: ArrayLike,
    final: ArrayLike,
    predicted_log: ArrayLike | None = None,
    *,
    deviation: ArrayLike | None = None,
    supposes: Sequence[str] = (),
    last_step: int,
    title: str = "",
) -> Figure:
    """Draw the natural logarithm of the mean length of layers 0 … d of one run, at initialization and at its end.

    A layer whose mean length is not finite, or 0, is a gap in the curve with a mark at the upper, or lower, end.

    Args:
        initial: Mean lengths at step 0, shape (d + 1,).
        final: Mean lengths at the last step, shape (d + 1,).
        predicted_log: Theory's log E[M_j] at initialization, shape (d + 1,).
        deviation: Standard deviation of the length over the samples of the initial batch, drawn as a band, shape
            (d + 1,).
        supposes: What the prediction supposes, for the legend.
        last_step: Number of the last step, for the legend.
        title: Title above the panel.
    """
    initial, final = np.asarray(initial, float), np.asarray(final, float)
    both = np.concatenate([initial, final])
    entries = 2 + sum([deviation is not None, predicted_log is not None, not np.isfinite(both).all(), 0 in both])
    figure, [axes] = stacked_panels([2.8], title, width=5.0, right=0.12, above=0.15 + 0.15 * ((entries + 1) // 2))
    axes.set_xmargin(0.02)
    layers = np.arange(len(initial))
    if deviation is not None:
        low, high = initial - np.asarray(deviation, float), initial + np.asarray(deviation, float)
        band: dict[str, Any] = {"color": "C0", "alpha": 0.15, "lw": 0, "label": "± standard deviation over samples"}
        axes.fill_between(layers, _log(np.maximum(low, initial / 10)), _log(high), **band)
    ends = {"at initialization (step 0)": (initial, "o", "C0"), f"at the end (step {last_step})": (final, "s", "C1")}
    for label, (lengths, marker, colour) in ends.items():
        shown = marker if len(layers) <= MARKED else ""
        axes.plot(layers, _log(lengths), marker=shown, color=colour, ms=4, lw=1.2, label=label)
    if predicted_log is not None:
        axes.plot(layers, predicted_log, "--", color="black", lw=1.4, label=f"{_theory(supposes)}, at initialization")
    _mark_gaps(axes, [(lengths, colour) for lengths, _, colour in ends.values()])
    axes.spines[["top", "right"]].set_visible(False)
    _decorate(axes, r"$\log\,\mathrm{mean}\ M_j$", loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=7)
    fit_left_margin(figure, [axes])
    return figure


def draw_simulation(layers: pd.DataFrame, *, nets: int, supposes: Sequence[str] = (), title: str = "") -> Figure:
    """Draw log(M_j / M_0) of an ensemble of nets at initialization against the layer j.

    The band spans the 5 and 95% quantiles over nets whose length is not 0, the line is the median. Points: logarithm of
    the mean over all nets ± one standard error; dashed: its prediction by theory. Dotted: the 5, 50 and 95% quantiles
    of the exact law for Gaussian weights.

    Args:
        layers: Result of `start_training.ensembles.layer_table`.
        nets: The number of nets, for the legend.
        supposes: What the prediction of theory supposes, for the legend.
        title: Title above the panel.
    """
    figure, [[axes]] = panels(1, 1, size=(5.0, 3.4))
    j = layers["layer"]
    axes.fill_between(j, layers["low"], layers["high"], color="C0", alpha=0.2, lw=0, label=f"5–95% of {nets:,} nets")
    axes.plot(j, layers["median"], color="C0", lw=1.2, label="median")
    shown = layers.iloc[np.unique(np.linspace(0, len(layers) - 1, MARKED).astype(int))]
    points = {"fmt": "o", "ms": 3, "color": "C1", "lw": 1, "label": "mean ± standard error"}
    axes.errorbar(shown["layer"], shown["log_mean"], yerr=shown["log_mean_error"], **points)
    if "median_law" in layers:
        for quantile, label in (("low", "exact law"), ("median", None), ("high", None)):
            axes.plot(j, layers[f"{quantile}_law"], ":", color="black", lw=1, label=label)
    if "log_mean_theory" in layers:
        axes.plot(j, layers["log_mean_theory"], "--", color="black", lw=1.4, label=f"{_theory(supposes)}, mean")
    dead = layers["dead"].iloc[-1]
    axes.set_title(f"{title}\n{dead:.1%} of nets dead in the last layer" if dead else title, fontsize=9, wrap=True)
    _decorate(axes, r"$\log\,(M_j/M_0)$")
    return figure


def _theory(supposes: Sequence[str]) -> str:
    return f"theory ({', '.join(supposes)})" if supposes else "theory"


def _mark_gaps(axes: Axes, curves: Sequence[tuple[NDArray[np.float64], str]]) -> None:
    """Mark lengths that are not finite at the upper end of the axes, and those that are 0 at the lower end."""
    for label, marker, place in (("not finite", "x", 1.0), ("length 0", "v", 0.0)):
        for lengths, colour in curves:
            layers = np.flatnonzero(lengths == 0 if marker == "v" else ~np.isfinite(lengths))
            style: dict[str, Any] = {"color": colour, "ms": 4, "ls": "", "clip_on": False, "label": label}
            if len(layers):
                places = [place] * len(layers)
                axes.plot(layers, places, marker, transform=axes.get_xaxis_transform(), **style)
                label = "_"  # one entry of the legend for both curves


def _decorate(axes: Axes, quantity: str, **legend: Any) -> None:
    axes.set(xlabel="layer $j$", ylabel=quantity + r",  $M_j=\|\mathrm{act}_j\|^2/n_j$")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(**{"frameon": False, "fontsize": 8, **legend})


def _log(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    positive = np.isfinite(lengths) & (lengths > 0)
    return np.where(positive, np.log(np.where(positive, lengths, 1.0)), np.nan)
