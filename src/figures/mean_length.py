"""Mean activation length against layer: measured at initialization and at the end, and as predicted."""

import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

TITLE_WIDTH = 66  # characters


def draw_mean_length(
    initial: ArrayLike,
    final: ArrayLike,
    predicted_log: ArrayLike | None = None,
    *,
    deviation: ArrayLike | None = None,
    last_step: int,
    title: str = "",
) -> Figure:
    """Natural log of the mean length of layers 0 … d: each of shape (d + 1,).

    deviation: standard deviation of the length over the initial batch's samples, drawn as a band.
    predicted_log: log E[M_j] at initialization, drawn over the measurement. A dead or exploded layer leaves a gap.
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
        axes.fill_between(
            layers,
            _log(np.maximum(low, initial / 10)),
            _log(high),
            color="C0",
            alpha=0.15,
            lw=0,
            label="± one s.d. over samples",
        )
    axes.plot(layers, _log(initial), "o-", color="C0", ms=4, lw=1.2, label="at initialization (step 0)")
    axes.plot(layers, _log(final), "s-", color="C1", ms=4, lw=1.2, label=f"at the end (step {last_step})")
    if predicted_log is not None:
        axes.plot(layers, predicted_log, "--", color="black", lw=1.4, label="theory, at initialization")
    axes.set_xlabel("layer $j$")
    axes.set_ylabel(r"$\log\,\mathrm{mean}\ M_j$,  $M_j=\|\mathrm{act}_j\|^2/n_j$")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("\n".join(lines), fontsize=9)
    return figure


def _log(lengths: np.ndarray) -> np.ndarray:
    positive = np.isfinite(lengths) & (lengths > 0)
    return np.where(positive, np.log(np.where(positive, lengths, 1.0)), np.nan)
