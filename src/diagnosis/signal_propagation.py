"""Figure of a diagnosis: length, gradient, distances between inputs and branch share against the place in the net."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from start_training.figures.axes import CYCLE, MARKERS, finish, handle, panels, plain_ticks

# Columns of each panel, with their labels in the legend; the axis label, and whether the axis is logarithmic.
PANELS = (
    ({"length": "length"}, "length ‖act‖²/n", True),
    ({"gradient": "gradient"}, "squared gradient", True),
    ({"samples": "between samples", "tokens": "between tokens"}, "1 − cosine", True),
    ({"branch": "added by a block", "silent": "silent units"}, "share", False),
)
NAMED = 16  # greatest number of layers that are labelled by name
LETTERS = 18


def draw_signal_propagation(layers: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw what becomes of the signal from layer to layer.

    Layers of one path are joined by a line; the input is layer 0. Values of 0, or that are not finite, are left out.

    Args:
        layers: As `Diagnosis.to_frame` returns it.
        title: Title above the panels.
    """
    figure, axes = panels(len(PANELS), 1, size=(6.4, 6.4), sharex=True)
    places = np.arange(len(layers))
    for axis, (columns, label, logarithmic) in zip(axes[:, 0], PANELS, strict=True):
        entries = []
        for (column, name), colour, marker in zip(columns.items(), CYCLE, MARKERS, strict=False):
            values = layers[column].to_numpy(float)
            shown = np.isfinite(values) & ((values > 0) | (not logarithmic))
            if not shown.any():
                continue
            for number in sorted({*layers["path"]}):
                kept = shown & ((layers["path"] == number).to_numpy() | (places == 0) * (number == 0))
                style = {"color": colour, "marker": marker, "ms": 3, "lw": 1.2 if number >= 0 else 0}
                axis.plot(places[kept], values[kept], **style)
            entries.append(handle(color=colour, marker=marker, ms=3, label=name))
        if logarithmic and entries:
            axis.set_yscale("log")
            plain_ticks(axis.yaxis)
        if not entries:
            axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", va="center", size=8)
        elif len(columns) > 1:
            axis.legend(handles=entries, fontsize=7, frameon=False)
        axis.set_ylabel(label, fontsize=8)
        axis.tick_params(labelsize=7, which="both")
    last = axes[-1, 0]
    if len(layers) <= NAMED:
        names = [name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}" for name in layers["name"]]
        last.set_xticks(places, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    else:
        last.xaxis.set_major_locator(MaxNLocator(integer=True))
        last.set_xlabel("layer", fontsize=8)
    return finish(figure, title)
