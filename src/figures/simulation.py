"""One ensemble at initialization: the lengths of many nets against layer, with theory drawn over them."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

MARKERS = 25  # of the mean, whose error bars would else run into each other


def draw_simulation(layers: pd.DataFrame, *, nets: int, title: str = "") -> Figure:
    """log(M_j / M_0) against j from a table of src/ensembles/layer_table.py.

    Band: 5 to 95% of the living nets; points: log of the mean over all nets, ± one standard error; dashed: that
    mean as predicted; dotted: the 5, 50 and 95% quantiles of the exact law, where weights are Gaussian.
    """
    figure = Figure(figsize=(5.0, 3.4), layout="constrained")
    axes = figure.subplots()
    j = layers["layer"]
    axes.fill_between(j, layers["low"], layers["high"], color="C0", alpha=0.2, lw=0, label=f"5–95% of {nets:,} nets")
    axes.plot(j, layers["median"], color="C0", lw=1.2, label="median")
    shown = layers.iloc[np.unique(np.linspace(0, len(layers) - 1, MARKERS).astype(int))]
    axes.errorbar(
        shown["layer"],
        shown["log_mean"],
        yerr=shown["log_mean_error"],
        fmt="o",
        ms=3,
        color="C1",
        lw=1,
        label="mean ± s.e.",
    )
    if "median_law" in layers:
        for quantile, label in (("low", "exact law"), ("median", None), ("high", None)):
            axes.plot(j, layers[f"{quantile}_law"], ":", color="black", lw=1, label=label)
    if "log_mean_theory" in layers:
        axes.plot(j, layers["log_mean_theory"], "--", color="black", lw=1.4, label="theory, mean")
    axes.set_xlabel("layer $j$")
    axes.set_ylabel(r"$\log\,(M_j/M_0)$,  $M_j=\|\mathrm{act}_j\|^2/n_j$")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    dead = layers["dead"].iloc[-1]
    axes.set_title(f"{title}\n{dead:.1%} of nets dead in the last layer" if dead else title, fontsize=9, wrap=True)
    return figure
