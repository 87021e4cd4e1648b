"""J, test loss and test accuracy at the end of training, against weight decay."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from start_training.analysis.decay_points import decay_points, expected_J, lambda_stars
from start_training.analysis.phase_curves import run_counts
from start_training.analysis.phase_slopes import Window, phase_slopes, window_rule
from start_training.figures import draws
from start_training.figures.axes import MARKERS, colours, draw_points, finish, handle, panels
from start_training.figures.labels import option_of, plus_minus, seeds_text
from start_training.order_chaos.weight_decay_guideline import LAST_SHARE, SETTLED_CHANGE

DRAWN = (  # for each panel: the label of its quantity, and the columns of filled and of open points
    ("final $J$", ["J"]),
    ("test loss", ["final_loss", "lowest_loss"]),
    ("final test accuracy", ["accuracy"]),
)
APART = 1.8  # distance of λ = 0 from the smallest decay on the axis, in steps between the two smallest decays
DECAY = r"$\lambda$ = weight_decay / 2"


@draws("phase")
def draw_weight_decay(
    table: pd.DataFrame,
    *,
    by: str | None = None,
    window: Window = "half",
    window_in: str = "epochs",
    layer: int | None = None,
    title: str = "",
) -> Figure:
    """Draw final J, test loss and test accuracy against λ, half of PyTorch's weight_decay, a curve per value of `by`.

    Points: mean over seeds ± one standard error; λ = 0 is drawn left of a break of the axis. Open: the lowest test loss
    during a run. Vertical line and band: λ* = A (1 − alpha) B / (4 eta S), mean ± standard error over the runs without
    weight decay, in which A is fitted over the window. Dotted: J predicted from this A (`expected_J`). Dashed: J = 1.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), weight decays from 0 to 1e-3; λ*:
    `start_training.order_chaos.weight_decay_guideline`.

    Args:
        table: Result of `sweep_curves` with kind `phase`.
        by: Column whose values distinguish the curves; None uses the settings that vary.
        window: Range over which the line is fitted to J²; see `phase_slopes`.
        window_in: Unit of `window`; see `phase_slopes`.
        layer: Number of the layer; None selects the first square layer.
        title: Title above the panels.

    Raises:
        ValueError: the table has no column `by`, no such layer, no finite J or no weight decay, or the window is
            invalid.
    """
    runs = phase_slopes(table, window=window, window_in=window_in, layer=layer)
    runs = runs.assign(option=option_of(runs, by) if by else "")
    points, guides = decay_points(runs), lambda_stars(runs)
    decays = np.sort(points["decay"][points["decay"] > 0].unique())
    zero = _place_of_zero(decays)
    palette = colours(points["option"])
    styles = {option: {"color": colour, "marker": MARKERS[number % len(MARKERS)]}
              for number, (option, colour) in enumerate(palette.items())}  # fmt: skip
    figure, [axes_of] = panels(1, 3, size=(11.4, 3.7))
    for option, style in styles.items():
        curve = points[points["option"] == option]
        for axes, (_, names) in zip(axes_of, DRAWN, strict=True):
            for name, face in zip(names, (style["color"], "white"), strict=False):
                x = curve["decay"].where(curve["decay"] > 0, zero)
                axes.plot(x, curve[name], "-", color=style["color"], lw=0.8, alpha=0.6)
                draw_points(axes, x, curve[name], curve[f"{name}_error"].fillna(0), mfc=face, zorder=3, **style)
        if option in guides:
            _draw_guide(axes_of, guides[option], runs[runs["option"] == option], zero, style["color"])
    for axes, (quantity, _) in zip(axes_of, DRAWN, strict=True):
        _decay_axis(axes, decays, zero)
        axes.set_ylabel(quantity)
    axes_of[0].axhline(1, color="0.5", lw=0.8, ls="--", zorder=0)
    axes_of[2].yaxis.set_major_formatter(PercentFormatter(1))
    caption = _caption(runs, guides, window_rule(window, window_in))
    return finish(figure, title, _handles(styles, bool(guides)), caption=caption)


def _place_of_zero(decays: Any) -> float:
    if not len(decays):
        return 1e-5
    step = decays[1] / decays[0] if len(decays) > 1 else 10.0
    return float(decays[0] / max(step, 2.0) ** APART)


def _draw_guide(
    all_axes: Sequence[Axes], guide: tuple[float, float], runs: pd.DataFrame, zero: float, colour: Any
) -> None:
    """Draw λ* in all panels, and in the first one the J that is predicted for other decays."""
    mean, error = guide
    for axes in all_axes:
        axes.axvline(mean, color=colour, lw=0.8, zorder=0)
        if np.isfinite(error):
            axes.axvspan(mean - error, mean + error, color=colour, alpha=0.18, lw=0, zorder=0)
    if (largest := runs["weight_decay"].max() / 2) > 0:
        x = np.geomspace(zero, 1.3 * float(largest), 100)
        all_axes[0].plot(x, expected_J(runs, np.where(x <= zero, 0, x)), ":", color=colour, lw=1.2)


def _decay_axis(axes: Axes, decays: Any, zero: float) -> None:
    low, high = np.log10(decays[[0, -1]]) if len(decays) else (0.0, -1.0)
    powers = np.arange(np.ceil(low), np.floor(high) + 1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([zero, *10.0**powers]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(["0", *(f"$10^{{{power:.0f}}}$" for power in powers)])
    axes.set(xlim=(zero / 1.5, 1.5 * float(decays[-1]) if len(decays) else 2 * zero), xlabel=DECAY)
    if len(decays):
        axes.plot([np.sqrt(zero * decays[0])], [0], marker=[(-1, -1.5), (1, 1.5)], color="black", ms=6, ls="",
                  transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip


def _handles(styles: Mapping[str, Mapping[str, Any]], guided: bool) -> list[Any]:
    point: dict[str, Any] = {"ls": "", "ms": 4.5}
    handles: list[Any] = [handle(option, **point, **style) for option, style in styles.items() if option]
    handles.append(handle("after the last epoch", color="0.4", marker="o", **point))
    handles.append(handle("lowest test loss of a run", color="0.4", marker="o", mfc="white", **point))
    handles.append(handle("edge of chaos, $J$ = 1", color="0.5", lw=0.8, ls="--"))
    if guided:
        handles.append(Patch(color="0.4", alpha=0.3, lw=0, label=r"$\lambda^*$, from $A$ without weight decay"))
        handles.append(handle("$J$ predicted from $A$", color="0.4", ls=":", lw=1.2))
    return handles


def _caption(runs: pd.DataFrame, guides: Mapping[str, tuple[float, float]], rule: str) -> str:
    epochs = runs["epochs"].unique()
    trained = f"{epochs[0]:g}" if len(epochs) == 1 else f"{epochs.min():g} to {epochs.max():g}"
    text = f"{seeds_text(run_counts(runs))} Trained for {trained} epochs."
    decayed = runs[(runs["weight_decay"] > 0) & ~runs["settled"].astype(bool)]
    if len(moving := np.sort(decayed["weight_decay"].unique() / 2)):
        share = f"by more than {SETTLED_CHANGE:.0%} in the last {LAST_SHARE:.0%} of the epochs"
        text += f" J² still changed {share} at λ = {', '.join(f'{decay:.2g}' for decay in moving)}."
    if runs.groupby(["option", "weight_decay"])["configuration"].nunique().max() > 1:
        text += " Some points are means over several configurations; the setting `by` can separate them."
    if not guides:
        return f"{text} λ* is unknown: no run without weight decay has a slope above 0."
    named = [
        f"λ* = {plus_minus(mean, error)} (weight_decay {2 * mean:.3g})" + (f" for {option}" if option else "")
        for option, (mean, error) in guides.items()
    ]
    return f"{text} {'; '.join(named)}; A is fitted over {rule}."
