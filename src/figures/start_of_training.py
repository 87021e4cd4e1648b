"""When training starts, against depth, beta or any other number: figures 1b, 2b and 3 of Hanin & Rolnick 2018."""

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, MaxNLocator, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation, Transform

from start_training.analysis.start_relation import RELATIONS
from start_training.figures.labels import label
from start_training.figures.mean_length_depth import MARKERS
from start_training.settings import one_of

AXES = {
    "depth": "depth $d$ (layers, or residual modules)",
    "beta": r"$\beta=\sum_j 1/n_j$",
    "log_growth": r"depth × |log growth rate|, nats",
}
TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]  # epochs, where their axis is logarithmic
LANE = 6.5  # points between the markers of two curves that never started
ARROW = Path([(0, -0.5), (0, 0.5), (-0.25, 0.15), (0, 0.5), (0.25, 0.15)], [1, 2, 1, 2, 2])


def draw_start_of_training(
    table: pd.DataFrame,
    *,
    by: str | None = None,
    x: str | Sequence[str] = "depth",
    relation: str | None = None,
    logarithmic: bool = False,
    title: str = "",
) -> Figure:
    """Start epoch against `x`, a panel for each, from the table of `runs.sweep_table`; a curve for each `by`.

    Points: mean over seeds of one configuration ± one standard error. Filled where all seeds started. Open, with an
    arrow: some did not and count with the maximum, a lower bound. In the band on top: none did. relation: `growth` or
    `beta`, computed and written beneath. Source: arXiv:1803.01719.
    Raises ValueError for a column that the table does not have, or one of `x` that is no number.
    """
    panels = [x] if isinstance(x, str) else list(x)
    points = [start_points(table, by=by, x=column) for column in panels]
    options = {option: number for number, option in enumerate(dict.fromkeys(_options(table, by)))}
    figure = Figure(figsize=(4.2 * len(panels) + 1.8, 4.2), layout="constrained")
    every = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, column, panel in zip(every, panels, points, strict=True):
        lanes = _lanes(panel, options)
        for option, curve in panel.groupby("by", sort=False):
            _draw_curve(axes, curve.sort_values("x"), options[option], lanes.get(option, 0))
        axes.set_xlabel(AXES.get(column, column))
        axes.spines[["top", "right"]].set_visible(False)
    _decorate(every, pd.concat(points), logarithmic, max(len(_lanes(panel, options)) for panel in points))
    every[0].set_ylabel(_what_is_waited_for(table))
    figure.legend(handles=_legend(points[0], options, by), loc="outside right upper", frameon=False, fontsize=8)
    if relation is not None:
        text = textwrap.fill(relation_of(table, relation), int(15 * figure.get_figwidth()))
        figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")  # a legend on the right knows nothing of it
    return figure


def start_points(table: pd.DataFrame, *, by: str | None, x: str) -> pd.DataFrame:
    """A row for each configuration that has been run: by, x, mean and error of its observed epochs, runs, started.

    x of a configuration is the median over its runs. error: of the mean, NaN for one run.
    """
    check_column("x", x, table, numeric=True)
    known = table.assign(by=_options(table, by))[table["started"].notna() & table[x].notna()]
    if known.empty:
        raise ValueError(f"x = {x}: known of no run of which it is known when it started")
    known = known.assign(x=known[x].astype(float), epoch=known["observed_epoch"].astype(float))
    groups = known.groupby(["by", "configuration"], sort=False)
    return groups.agg(
        x=("x", "median"),
        mean=("epoch", "mean"),
        error=("epoch", "sem"),
        runs=("epoch", "size"),
        started=("started", "sum"),
        maximum=("max_epochs", "max"),
    ).reset_index()


def relation_of(table: pd.DataFrame, relation: str) -> str:
    """The relation in a sentence, or why there is none yet. Raises ValueError for one that is not known."""
    compute = RELATIONS[one_of("relation", relation, RELATIONS)]
    try:
        return compute(table)
    except ValueError as error:
        return f"no relation yet: {error}"


def check_column(name: str, column: str, table: pd.DataFrame, *, numeric: bool = False) -> None:
    """Raises ValueError, naming `name`, for a column that the table does not have, or that holds no numbers."""
    there = [key for key in table if not numeric or pd.api.types.is_numeric_dtype(table[key])]
    if column not in there:
        kind = "column of numbers" if numeric else "column"
        raise ValueError(f"{name} = {column}: no {kind} of the sweep's table; there are {', '.join(map(str, there))}")


def _options(table: pd.DataFrame, by: str | None) -> pd.Series:
    """The curve of each row; runs that leave the setting alone are the default's."""
    if by is None:
        return pd.Series("all", index=table.index)
    check_column("by", by, table)
    return table[by].map(lambda value: "default" if pd.isna(value) else f"{value:g}" if _is_number(value) else value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lanes(points: pd.DataFrame, options: dict[object, int]) -> dict[object, int]:
    """In the band of what never started, the lane of each curve that gets there."""
    there = set(points.loc[points["started"] == 0, "by"])
    return {option: lane for lane, option in enumerate([option for option in options if option in there], start=1)}


def _draw_curve(axes: Axes, curve: pd.DataFrame, number: int, lane: int) -> None:
    style: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "color": f"C{number}", "ms": 4.5, "ls": ""}
    axes.plot(curve["x"], curve["mean"], "-", color=f"C{number}", lw=0.8, alpha=0.6)
    some = curve[curve["started"] > 0]
    axes.errorbar(some["x"], some["mean"], yerr=some["error"], fmt="none", color=f"C{number}", elinewidth=1, capsize=2)
    every, bounds = some[some["started"] == some["runs"]], some[some["started"] < some["runs"]]
    axes.plot(every["x"], every["mean"], **style, zorder=3)
    axes.plot(bounds["x"], bounds["mean"], **style, mfc="white", zorder=3)
    axes.plot(bounds["x"], bounds["mean"], **_arrow(f"C{number}"), transform=_moved(axes, 4, 5))
    none = curve[curve["started"] == 0]
    axes.plot(none["x"], none["mean"], **style, mfc="white", transform=_moved(axes, 0, lane * LANE), zorder=3)


def _arrow(color: str) -> dict[str, Any]:
    return {"marker": ARROW, "ms": 9, "ls": "", "mfc": "none", "color": color}


def _moved(axes: Axes, right: float, up: float) -> Transform:
    """To the data's place, and so many points from there."""
    return axes.transData + ScaledTranslation(right / 72, up / 72, axes.figure.dpi_scale_trans)


def _decorate(every: Sequence[Axes], points: pd.DataFrame, logarithmic: bool, lanes: int) -> None:
    """The epochs' axis, with a band above the maximum where a configuration never started."""
    top = float(points["maximum"].max())
    if not lanes:
        top = min(top, 1.1 * float((points["mean"] + points["error"].fillna(0)).max()))
    share = (lanes + 2.5) * LANE / 250 if lanes else 0.02  # of the axis' height, about 250 points
    low = 0.8 * float(points["mean"].min()) if logarithmic else 0.0
    for axes in every:
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(FixedLocator([tick for tick in TICKS if tick <= top]))
            axes.yaxis.set_minor_locator(FixedLocator([]))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            end = top * (top / low) ** (share / (1 - share))
        else:
            axes.yaxis.set_major_locator(FixedLocator([t for t in MaxNLocator(6).tick_values(0, top) if t <= top]))
            end = top / (1 - share)
        axes.set_ylim(low, end)
        if lanes:
            axes.axhspan(top, end, color="0.94", lw=0, zorder=0)
            axes.axhline(top, color="0.6", lw=0.6, zorder=0)
            axes.annotate(
                f"not started within {top:g} epochs", (0.01, 1), (0, -2), "axes fraction", "offset points",
                fontsize=7, color="0.4", va="top",
            )  # fmt: skip


def _what_is_waited_for(table: pd.DataFrame) -> str:
    metrics, thresholds = table["start_metric"].dropna().unique(), table["start_threshold"].dropna().unique()
    if len(metrics) != 1 or len(thresholds) != 1:
        return "epochs until training starts"
    return f"epochs until {thresholds[0]:.0%} {str(metrics[0]).replace('/', ' ')}"


def _legend(points: pd.DataFrame, options: dict[object, int], by: str | None) -> list[Line2D]:
    handles = [
        Line2D([], [], marker=MARKERS[number % len(MARKERS)], ls="", ms=4.5, color=f"C{number}", label=label(option))
        for option, number in options.items()
        if by is not None and option in set(points["by"])
    ]
    low, high = points["runs"].min(), points["runs"].max()
    seeds = f"{high}" if low == high else f"{low}–{high}"
    handles.append(Line2D([], [], marker="o", ls="", ms=4.5, color="0.4", label=f"mean of {seeds} seeds, ± s.e."))
    if ((points["started"] < points["runs"]) & (points["started"] > 0)).any():
        handles.append(Line2D([], [], **_arrow("0.4"), label="lower bound: some never started"))
    return handles
