"""Activation lengths of one run by layer and training step, with growth rate and learning rate below."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import ArrayLike, NDArray

from start_training.analysis.step_columns import BROKEN, GOOD, MISSING, ZERO, StepColumns, rate_changes, step_columns
from start_training.figures.axes import fit_left_margin, stacked_panels

Array = NDArray[np.float64]
NAMED = 25  # largest number of layers that are labelled by name
LETTERS = 22  # most characters of a layer's name
OUTLIERS = 4  # values farther outside than this many times the range of 94% of all are cut off
MARKS = 20  # most changes of the learning rate that are marked
WIDTH, RIGHT = 6.4, 1.15  # of the figure and its right margin, in inches
STYLES: dict[int, dict[str, Any]] = {  # hatched, so that they differ from lengths in grey, too
    BROKEN: {"label": "not finite", "facecolor": "#f6c9bd", "edgecolor": "#bd1f01", "hatch": "xxxxx", "lw": 0},
    ZERO: {"label": "length 0", "facecolor": "white", "edgecolor": "black", "hatch": ".....", "lw": 0},
    MISSING: {"label": "not measured", "facecolor": "0.88", "lw": 0},
}
LINE: dict[str, Any] = {"color": "0.3", "lw": 0.7, "ls": (0, (4, 3)), "zorder": 1.5}


def draw_lengths_over_time(
    lengths: pd.DataFrame,
    growth_rate: ArrayLike,
    learning_rate: ArrayLike | None = None,
    *,
    measured: ArrayLike | None = None,
    title: str = "",
) -> Figure:
    """Draw the log mean length of each layer at each step as a heat map, and below it the growth rate with depth.

    Cells with a length that is not finite, or 0, are hatched. If more than `COLUMNS` steps were measured, neighbouring
    steps share a column: it shows the mean of their log lengths, and is hatched if one of them is not finite, or 0; the
    curve of growth rates is then a mean, too, with a band from the smallest to the largest. The axis of steps is
    logarithmic, of step + 1, in a run of `LONG` steps or more. A learning rate that varies is drawn in a third panel,
    and triangles above the heat map mark where it jumps, or begins or ends to rise or fall; more than `MARKS` of these
    are left to the panel. Colours and axes leave out values that are farther from 94% of all than `OUTLIERS` times the
    range of these.

    Args:
        lengths: Mean lengths, with a row for each layer, labelled (layer, name), and a column for each step, as
            `start_training.read_lengths(directory, matrix="mean")` returns them.
        growth_rate: Growth rate at each step, in nats per layer, shape (steps,); −inf or NaN is a gap.
        learning_rate: Learning rate at each step, shape (steps,).
        measured: Whether each layer was measured at each step, of the shape of `lengths`; None: all were.
        title: Title above the panels.
    """
    columns = step_columns(lengths.columns.to_numpy())
    known = np.ones(lengths.shape, bool) if measured is None else np.asarray(measured, bool)
    logs, states = columns.log_means(lengths.to_numpy(np.float64), known)
    rate = None if learning_rate is None else np.asarray(learning_rate, float)
    if rate is not None and not (np.isfinite(rate).all() and np.ptp(rate) > 0):
        rate = None
    heights = [min(max(0.3 + 0.15 * len(lengths), 1.4), 3.2), 0.85, *[0.55] * (rate is not None)]
    figure, panels = stacked_panels(heights, title, width=WIDTH, right=RIGHT)
    heat, growth, last = panels[0], panels[1], panels[-1]
    for axes in panels:
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(axes is heat)
    _draw_cells(figure, heat, logs, states, columns.edges)
    _label_layers(heat, lengths.index)
    _draw_growth(growth, columns, np.asarray(growth_rate, float))
    growth.axhline(0, color="0.6", lw=0.7, zorder=1)
    _hatch(growth, states.max(0, where=states < MISSING, initial=GOOD)[None], columns.edges)
    if len(lengths) < 2:
        growth.text(0.5, 0.5, "undefined for one layer", transform=growth.transAxes, ha="center", va="center", size=7)
    handles: list[Any] = [Patch(**style) for state, style in STYLES.items() if (states == state).any()]
    if rate is not None:
        handles += _draw_rate(panels, columns, rate)
    if handles:
        place: dict[str, Any] = {
            "loc": "upper left",
            "bbox_to_anchor": (1.02, 1.0),
            "borderaxespad": 0.0,
            "handlelength": 1.6,
        }
        growth.legend(handles=handles, fontsize=7, frameon=False, **place)
    _label_steps(last, columns)
    fit_left_margin(figure, panels)
    return figure


def _draw_cells(figure: Figure, axes: Axes, logs: Array, states: NDArray[np.int64], edges: Array) -> None:
    rows = np.arange(len(logs) + 1) - 0.5
    limits, extend = value_limits(logs)
    mesh = axes.pcolormesh(edges, rows, logs, cmap="viridis", vmin=limits[0], vmax=limits[1], rasterized=True)
    _hatch(axes, states, edges)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(rows[0], rows[-1]))
    if np.isfinite(logs).any():
        place = axes.get_position()
        beside = figure.add_axes((1 - (RIGHT - 0.1) / WIDTH, place.y0, 0.13 / WIDTH, place.height))
        bar = figure.colorbar(mesh, cax=beside, extend=extend)
        bar.set_label("log mean length (nats)", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_linewidth(0.5)


def value_limits(values: Array) -> tuple[tuple[float, float], str]:
    """Return the smallest and largest finite value, or quantiles where these are far outside, and how it extends."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return (0.0, 1.0), "neither"
    low, high = np.quantile(finite, [0.03, 0.97])
    reach = OUTLIERS * (high - low)
    below, above = bool(finite.min() < low - reach), bool(finite.max() > high + reach)
    low, high = low - reach / OUTLIERS if below else finite.min(), high + reach / OUTLIERS if above else finite.max()
    margin = 0.0 if high - low > 1e-9 else 0.5
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max"}.get((below, above), "both")
    return (float(low - margin), float(high + margin)), extend


def _hatch(axes: Axes, states: NDArray[np.int64], edges: Array) -> None:
    """Fill the cells that show no length with the style of their state; a row of one layer fills the whole height."""
    whole = {"transform": axes.get_xaxis_transform()} if len(states) == 1 else {}
    for state, style in STYLES.items():
        corners = list[tuple[float, float]]()
        for row, cells in enumerate(states == state):
            ends = np.flatnonzero(np.diff(cells, prepend=False, append=False)).reshape(-1, 2)
            low, high = (0, 1) if whole else (row - 0.5, row + 0.5)
            for left, right in edges[ends]:
                corners += [(left, low), (right, low), (right, high), (left, high), (left, low)]
        if corners:
            codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(corners) // 5)
            axes.add_patch(PathPatch(Path(corners, codes), **{**style, "label": None}, **whole))


def _draw_growth(axes: Axes, columns: StepColumns, values: Array) -> None:
    """Draw the mean of each column, and a band from its smallest to its largest finite value."""
    steps = columns.places(columns.mean(columns.steps.astype(float)))
    axes.plot(steps, columns.mean(values), color="#3f90da", lw=1.1, marker="o" if len(steps) <= 40 else "", ms=2.5)
    if len(columns.starts) < len(columns.steps):
        axes.fill_between(steps, *columns.range(values), color="#3f90da", alpha=0.25, lw=0)
    (low, high), _ = value_limits(values)
    axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.set_ylabel("growth rate\n(nats/layer)", fontsize=7)


def _draw_rate(panels: Sequence[Axes], columns: StepColumns, rate: Array) -> list[Line2D]:
    """Draw the learning rate in the last panel, and marks of its changes in all, for which an entry is returned."""
    heat, *below = panels
    few = len(np.unique(rate)) <= MARKS
    turns = rate_changes(rate)
    shown = np.unique([*columns.starts, *turns, len(rate) - 1])
    below[-1].plot(
        columns.places(columns.steps[shown]), rate[shown], color="0.2", lw=1.1, drawstyle="steps-post" if few else None
    )
    below[-1].yaxis.set_major_locator(MaxNLocator(3))
    below[-1].set_ylabel("learning\nrate", fontsize=7)
    if few and rate.min() > 0 and rate.max() > 5 * rate.min():
        below[-1].set_yscale("log")
        below[-1].set_ylim(rate.min() / 1.5, rate.max() * 1.5)
    changes = columns.places(columns.steps[turns])
    if not 0 < len(changes) <= MARKS:
        return []
    for axes in below:
        for place in changes:
            axes.axvline(place, **LINE)
    mark: dict[str, Any] = {"marker": "v", "ms": 4, "ls": "", "color": "0.2"}
    heat.plot(changes, [1.0] * len(changes), transform=heat.get_xaxis_transform(), clip_on=False, **mark)
    return [Line2D([], [], label="learning rate\nchanges", **mark)]


def _label_layers(axes: Axes, layers: pd.Index) -> None:
    """Label the layers by number and name, or by number alone where these are many."""
    numbers = [str(number) for number in layers.get_level_values(0)]
    axes.set_ylabel("layer j", fontsize=8)
    if len(numbers) > NAMED:
        axes.yaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        places = [int(place) for place in axes.get_yticks() if 0 <= place < len(numbers)]
        axes.set_yticks(places, [numbers[place] for place in places])
        return
    names = short_names([" ".join(map(str, key[1:])) for key in layers])
    labels = [f"{name} ({number})" for number, name in zip(numbers, names, strict=True)]
    axes.set_yticks(range(len(labels)), labels, fontsize=7 if len(labels) < 20 else 6, parse_math=False)


def short_names(names: Sequence[str]) -> list[str]:
    """Shorten the names of layers: leave out what all but the first share, and the middle of what is still long.

    Example:
        >>> short_names(["input", "net.hidden.0.activation", "net.hidden.1.activation"])
        ['input', 'hidden.0', 'hidden.1']
        >>> short_names(["input", "a_very_long_name_of_a_layer_that_is_alone"])
        ['input', 'a_very_long…t_is_alone']
    """
    parts = [name.split(".") for name in names[1:]]
    if len(parts) > 1:
        shared = max(_shared(parts) - 1, 0)
        ending = _shared([part[:shared:-1] for part in parts])
        parts = [part[shared : len(part) - ending] for part in parts]
    shown = [*names[:1], *(".".join(part) for part in parts)]
    return [name if len(name) <= LETTERS else f"{name[: LETTERS // 2]}…{name[-LETTERS // 2 + 1 :]}" for name in shown]


def _shared(parts: Sequence[Sequence[str]]) -> int:
    """Return how many words at their beginning all sequences share."""
    return sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, zip(*parts, strict=False)))


def _label_steps(axes: Axes, columns: StepColumns) -> None:
    axes.set_xlabel("training step", fontsize=8)
    if columns.logarithmic:
        steps = [0, *(10**power for power in range(16))]
        steps = [step for step in steps if columns.steps[0] <= step <= columns.steps[-1]]
        minor = [digit * step for step in steps if step for digit in range(2, 10) if digit * step <= columns.steps[-1]]
        axes.set_xticks(columns.places(steps), [f"{step:,}" for step in steps])
        axes.set_xticks(columns.places([*range(1, 10), *minor]), minor=True)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
