"""How fast J² grew in each run of a sweep: slopes over a stated window, their exponents, and the law's constant."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.analysis.phase_curves import lowest_and_last, watched
from start_training.order_chaos.scaling_law import Exponent, fit_exponent
from start_training.order_chaos.slope import SHORTEST, SKIP, fit_slope, ordered_window
from start_training.order_chaos.weight_decay_guideline import Settled, crossing
from start_training.settings import list_of, one_of

LAW = ("eta", "alpha", "batch")  # what A ∝ eta / ((1 − alpha) B) is about
UNITS = ("epochs", "rescaled", "J2")
Window = str | Sequence[float]
Array = NDArray[np.float64]


def phase_slopes(
    table: pd.DataFrame, *, window: Window = "half", window_in: str = "epochs", layer: int | None = None
) -> pd.DataFrame:
    """A row for each run of a table of phases (`sweep_curves`), beside the facts of the run.

    slope (per epoch), slope_error, intercept, start, end (epochs), points and bend, as `fit_slope` says, NaN where
    there is no slope, and `reason` why; linear: whether it is. J2_at_end: of the line, where the window ends.
    scaling: eta / ((1 − alpha) B), as `watched` has it; constant: slope / scaling. edge_epoch: where J² first reached
    1, NaN where it did not. steps_per_epoch; epochs trained. settled: whether J² moves no more
    (`Settled`). final_J2, lowest_J, …: as `lowest_and_last` says.

    window: `half` leaves out the first half of the ordered phase (`ordered_window`); or [start, end], in the unit
    `window_in`: epochs, rescaled (epochs × scaling) or J2, of which only the ordered phase counts.
    Raises ValueError for another window.
    """
    bounds = window_bounds(window, window_in)
    rows = watched(table, layer)
    found = [_of_run(run, bounds, window_in) for _, run in rows.groupby("directory", sort=False)]
    return pd.DataFrame(found).reset_index(drop=True)


def window_bounds(window: Window, window_in: str = "epochs") -> tuple[float, float] | None:
    """[start, end] as numbers; None for the default rule. Raises ValueError for anything else."""
    one_of("window_in", window_in, UNITS)
    if isinstance(window, str):
        one_of("window", window, ("half",))
        return None
    values = list_of("window", window)
    if len(values) != 2 or not all(isinstance(each, int | float) for each in values) or not values[0] < values[1]:
        raise ValueError(f"window = {values}: must be half, or [start, end] with start below end")
    if window_in == "epochs" and values[1] - values[0] < SHORTEST:
        raise ValueError(f"window = {values}: a slope needs at least {SHORTEST:g} epochs")
    return float(values[0]), float(values[1])


def window_rule(window: Window = "half", window_in: str = "epochs") -> str:
    """The window in words, as it is printed under a figure."""
    if (bounds := window_bounds(window, window_in)) is None:
        return f"the ordered phase (J² < 1) without its first {SKIP:.0%}, but at least {SHORTEST:g} epochs of it"
    low, high = (f"{bound:g}" for bound in bounds)
    said = {
        "epochs": f"epochs {low} to {high}",
        "rescaled": rf"rescaled times {low} to {high} epochs × $\eta/((1-\alpha)B)$",
        "J2": f"J² from {low} to {high}",
    }
    return f"{said[window_in]}, as far as J² < 1"


def settings_of_law(slopes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Of each of eta, alpha and batch the runs in which it varies alone, as the column `vary` tells.

    Without that column: those with the values of the other two between which it takes the most; a setting of one value
    is left out. Only runs without weight decay, of which the law speaks.
    """
    slopes = undecayed(slopes)
    if "vary" in slopes:
        return {name: runs for name in LAW if len(runs := slopes[slopes["vary"] == name])}
    found = {name: _alone(slopes, name) for name in LAW}
    return {name: runs for name, runs in found.items() if runs[name].nunique() > 1}


def undecayed(slopes: pd.DataFrame) -> pd.DataFrame:
    """The runs without weight decay."""
    return slopes[slopes["weight_decay"].fillna(0) == 0]


def law_variable(name: str, values: Any) -> Any:
    """eta, 1/(1 − alpha) or 1/B: the factor of the scaling variable that a setting makes."""
    values = np.asarray(values, dtype=np.float64)
    if one_of("setting", name, LAW) == "eta":
        return values
    return 1 / (1 - values) if name == "alpha" else 1 / values


def law_points(slopes: pd.DataFrame, name: str) -> pd.DataFrame:
    """A row for each value of the setting: x (`law_variable`), slope (mean over runs), error (of the mean), runs.

    bent: runs whose slope is not linear. Only runs with a slope above 0.
    """
    usable = slopes[slopes["slope"] > 0]
    points = usable.groupby(name).agg(
        slope=("slope", "mean"),
        error=("slope", "sem"),
        runs=("slope", "size"),
        bent=("linear", lambda linear: int((~linear.astype(bool)).sum())),
    )
    points = points.reset_index()
    return points.assign(x=law_variable(name, points[name])).sort_values("x", ignore_index=True)


def exponents(slopes: pd.DataFrame) -> dict[str, Exponent | None]:
    """Of each setting that varies, p of A ∝ x^p over the means of its values; None where fewer than three have one."""
    points = {name: law_points(runs, name) for name, runs in settings_of_law(slopes).items()}
    return {name: fit_exponent(each["x"], each["slope"]) if len(each) > 2 else None for name, each in points.items()}


def constant_spread(slopes: pd.DataFrame) -> dict[str, Any]:
    """A (1 − alpha) B / eta over all runs without weight decay that have a slope.

    runs, mean, sd (NaN for one run), relative_sd, smallest, largest, ratio of these two. Empty where there is none; the
    relative ones NaN where J² did not grow.
    """
    constants = undecayed(slopes)["constant"].dropna()
    if constants.empty:
        return {}
    mean, sd = float(constants.mean()), float(constants.std())
    low, high = float(constants.min()), float(constants.max())
    shape = {"mean": mean, "sd": sd, "relative_sd": sd / mean if mean > 0 else np.nan, "smallest": low, "largest": high}
    return {"runs": len(constants), **shape, "ratio": high / low if low > 0 else np.nan}


def without_slope(slopes: pd.DataFrame) -> pd.DataFrame:
    """The runs that have none."""
    return slopes[slopes["slope"].isna()]


def _alone(slopes: pd.DataFrame, name: str) -> pd.DataFrame:
    groups = [runs for _, runs in slopes.groupby([other for other in LAW if other != name])]
    return max(groups, key=lambda runs: runs[name].nunique(), default=slopes[:0])


def _of_run(run: pd.DataFrame, bounds: tuple[float, float] | None, unit: str) -> dict[str, Any]:
    first, last = run.iloc[0], run.iloc[-1]
    epochs, J2 = run["epoch"].to_numpy(float), run["J2"].to_numpy(float)
    scaling = float(first["scaling"])
    fitted = _fit(epochs, J2, scaling, bounds, unit)
    steps = last["step"] / last["epoch"] if last["epoch"] > 0 else np.nan
    return {
        **{str(key): value for key, value in first.items()},
        "scaling": scaling,
        **fitted,
        "constant": fitted["slope"] / scaling,
        "J2_at_end": fitted["intercept"] + fitted["slope"] * fitted["end"],
        "edge_epoch": crossing(epochs, J2),
        "steps_per_epoch": steps,
        "epochs": float(last["epoch"]),
        "settled": len(run) > 1 and _settled(epochs, J2),
        **lowest_and_last(run),
    }


def _fit(epochs: Array, J2: Array, scaling: float, bounds: tuple[float, float] | None, unit: str) -> dict[str, Any]:
    names = ("slope", "slope_error", "intercept", "start", "end", "bend")
    try:
        fit = fit_slope(epochs, J2, window=_window(epochs, J2, scaling, bounds, unit))
    except ValueError as error:
        reason = str(error)
        return {**dict.fromkeys(names, np.nan), "points": 0, "linear": False, "reason": reason}
    values = (fit.A, fit.error, fit.C, fit.start, fit.end, fit.bend)
    return {**dict(zip(names, values, strict=True)), "points": fit.points, "linear": fit.linear, "reason": ""}


def _settled(epochs: Array, J2: Array) -> bool:
    try:
        return not Settled.of(epochs, J2).moving
    except ValueError:  # too short
        return False


def _window(
    epochs: Array, J2: Array, scaling: float, bounds: tuple[float, float] | None, unit: str
) -> tuple[float, float]:
    if bounds is None:
        return ordered_window(epochs, J2)
    low, high = bounds
    first, last = ordered_window(epochs, J2, skip=0)
    if unit == "rescaled":
        low, high = low / scaling, high / scaling
    elif unit == "J2":
        low, high = _first_at(epochs, J2, low), _last_before(epochs, J2, high)
    return max(low, first), min(high, last)


def _first_at(epochs: Array, J2: Array, level: float) -> float:
    """The first measurement of at least this J²."""
    reached = np.flatnonzero(level <= J2)
    return float(epochs[reached[0]]) if len(reached) else float(epochs[-1])


def _last_before(epochs: Array, J2: Array, level: float) -> float:
    reached = np.flatnonzero(level < J2)
    return float(epochs[max(reached[0] - 1, 0)]) if len(reached) else float(epochs[-1])
