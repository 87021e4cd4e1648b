"""How fast J² grew in each run of a sweep: slopes over a stated window, their exponents, and the law's constant."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.analysis.phase_curves import lowest_and_last, watched
from start_training.order_chaos.scaling_law import Exponent, fit_exponent
from start_training.order_chaos.slope import MIN_WINDOW, SKIP, fit_slope, ordered_window
from start_training.order_chaos.weight_decay_guideline import Settled, crossing
from start_training.settings import list_of, one_of

LAW = ("eta", "alpha", "batch")  # what A ∝ eta / ((1 − alpha) B) is about
UNITS = ("epochs", "rescaled", "J2")
Window = str | Sequence[float]
Array = NDArray[np.float64]


def phase_slopes(
    table: pd.DataFrame, *, window: Window = "half", window_in: str = "epochs", layer: int | None = None
) -> pd.DataFrame:
    """The slope of J² over a window, and what else is known of each run of a sweep.

    A row has the facts of a run; slope (per epoch), slope_error, intercept, start, end (epochs), points and bend, as
    `fit_slope` says, NaN where there is no slope, and `reason` why; bent: whether it is not linear. J2_at_end: of the
    line, where the window ends. scaling: eta / ((1 − alpha) B), as `watched` has it; constant: slope / scaling.
    edge_epoch: where J² first reached 1, NaN where it did not. steps_per_epoch; epochs trained. settled: whether J²
    has stopped moving (`Settled`). final_J2, lowest_J, …: as `lowest_and_last` says.

    Args:
        table: Of `sweep_curves`, kind phase.
        window: `half` leaves out the first half of the ordered phase (`ordered_window`); or [start, end], of which only
            the ordered phase counts.
        window_in: The unit of start and end: epochs, rescaled (epochs × scaling) or J2.
        layer: As `watched` has it.

    Raises:
        ValueError: for another window, and as `watched`.
    """
    bounds = window_bounds(window, window_in)
    rows = watched(table, layer)
    return pd.DataFrame([_of_run(run, bounds, window_in) for _, run in rows.groupby("directory", sort=False)])


def window_bounds(window: Window, window_in: str = "epochs") -> tuple[float, float] | None:
    """[start, end] as numbers; None for the default rule. Raises ValueError for anything else."""
    one_of("window_in", window_in, UNITS)
    if isinstance(window, str):
        one_of("window", window, ("half",))
        return None
    values = list_of("window", window)
    if len(values) != 2 or not all(isinstance(value, int | float) for value in values) or not values[0] < values[1]:
        raise ValueError(f"window = {values}: must be half, or [start, end] with start below end")
    if window_in == "epochs" and values[1] - values[0] < MIN_WINDOW:
        raise ValueError(f"window = {values}: a slope needs at least {MIN_WINDOW:g} epochs")
    return float(values[0]), float(values[1])


def window_rule(window: Window = "half", window_in: str = "epochs") -> str:
    """The window in words, as it is printed under a figure."""
    if (bounds := window_bounds(window, window_in)) is None:
        return f"the ordered phase (J² < 1) without its first {SKIP:.0%}, but at least {MIN_WINDOW:g} epochs of it"
    form = {
        "epochs": "epochs {:g} to {:g}",
        "rescaled": r"rescaled times {:g} to {:g} epochs × $\eta/((1-\alpha)B)$",
        "J2": "J² from {:g} to {:g}",
    }[window_in]
    return form.format(*bounds) + ", as far as J² < 1"


def settings_of_law(slopes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each of eta, alpha and batch, the runs without weight decay in which it varies while the other two stay.

    The column `vary` names the setting of a run. Without that column they are the runs with the values of the other two
    at which the setting has most values; a setting of one value is left out.
    """
    slopes = undecayed(slopes)
    if "vary" in slopes:
        return {name: runs for name in LAW if len(runs := slopes[slopes["vary"] == name])}
    return {name: runs for name in LAW if (runs := _alone(slopes, name))[name].nunique() > 1}


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
    points = (
        slopes[slopes["slope"] > 0]
        .groupby(name)
        .agg(
            slope=("slope", "mean"),
            error=("slope", "sem"),
            runs=("slope", "size"),
            bent=("bent", "sum"),
        )
    )
    return points.reset_index().assign(x=law_variable(name, points.index)).sort_values("x", ignore_index=True)


def law_through_middle(points: pd.DataFrame, exponent: float = 1.0) -> Array:
    """A ∝ x^exponent at the x of `law_points`, through the geometric means of their x and slopes."""
    x0, A0 = np.exp(np.log(points[["x", "slope"]]).mean())
    return np.asarray(A0 * (points["x"] / x0) ** exponent, np.float64)


def exponents(slopes: pd.DataFrame) -> dict[str, Exponent | None]:
    """p of A ∝ x^p over the means of the values of each setting that varies; None for fewer than three values."""
    points = {name: law_points(runs, name) for name, runs in settings_of_law(slopes).items()}
    return {name: fit_exponent(rows["x"], rows["slope"]) if len(rows) > 2 else None for name, rows in points.items()}


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


def mean_slope(fits: pd.DataFrame) -> tuple[float, float]:
    """The mean slope over the runs of `phase_slopes`, which all have one, and its standard error over runs.

    The error for one run is that of its fit.
    """
    mean, error = fits["slope"].agg(["mean", "sem"]).to_numpy(float)
    return float(mean), float(error if len(fits) > 1 else fits["slope_error"].to_numpy(float)[0])


def _alone(slopes: pd.DataFrame, name: str) -> pd.DataFrame:
    groups = [runs for _, runs in slopes.groupby([other for other in LAW if other != name])]
    return max(groups, key=lambda runs: runs[name].nunique(), default=slopes[:0])


def _of_run(run: pd.DataFrame, bounds: tuple[float, float] | None, unit: str) -> dict[str, Any]:
    first, last = run.iloc[0], run.iloc[-1]
    epochs, J2 = run["epoch"].to_numpy(float), run["J2"].to_numpy(float)
    scaling = float(first["scaling"])
    fitted = _fit(epochs, J2, scaling, bounds, unit)
    return {
        **{str(key): value for key, value in first.items()},
        "scaling": scaling,
        **fitted,
        "constant": fitted["slope"] / scaling,
        "J2_at_end": fitted["intercept"] + fitted["slope"] * fitted["end"],
        "edge_epoch": crossing(epochs, J2),
        "steps_per_epoch": last["step"] / last["epoch"] if last["epoch"] > 0 else np.nan,
        "epochs": float(last["epoch"]),
        "settled": _is_settled(epochs, J2),
        **lowest_and_last(run),
    }


def _fit(epochs: Array, J2: Array, scaling: float, bounds: tuple[float, float] | None, unit: str) -> dict[str, Any]:
    try:
        fit = fit_slope(epochs, J2, window=_window(epochs, J2, scaling, bounds, unit))
    except ValueError as error:
        names = ("slope", "slope_error", "intercept", "start", "end", "bend")
        return {**dict.fromkeys(names, np.nan), "points": 0, "bent": False, "reason": str(error)}
    return {
        "slope": fit.A,
        "slope_error": fit.error,
        "intercept": fit.C,
        "start": fit.start,
        "end": fit.end,
        "bend": fit.bend,
        "points": fit.points,
        "bent": not fit.linear,
        "reason": "",
    }


def _is_settled(epochs: Array, J2: Array) -> bool:
    try:
        return len(epochs) > 1 and not Settled.of(epochs, J2).moving
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
    elif unit == "J2":  # from the first measurement of at least `low` to the last before one above `high`
        reached, exceeded = np.flatnonzero(low <= J2), np.flatnonzero(high < J2)
        low = float(epochs[reached[0] if len(reached) else -1])
        high = float(epochs[max(exceeded[0] - 1, 0) if len(exceeded) else -1])
    return max(low, first), min(high, last)
