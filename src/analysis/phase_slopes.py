"""Slopes A of J² over training time in the runs of a sweep, and fits of A ∝ eta / ((1 − alpha) B)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.analysis.phase_curves import layer_rows, lowest_and_last
from start_training.order_chaos.scaling_law import Exponent, fit_exponent
from start_training.order_chaos.slope import MIN_WINDOW, SKIP, fit_slope, ordered_window
from start_training.order_chaos.weight_decay_guideline import MeanSlope, Settled, crossing
from start_training.settings import list_of, one_of

LAW = ("eta", "alpha", "batch")  # the settings in A ∝ eta / ((1 − alpha) B)
UNITS = ("epochs", "rescaled", "J2")  # of a window
Window = str | Sequence[float]
Array = NDArray[np.float64]


def phase_slopes(
    table: pd.DataFrame, *, window: Window = "half", window_in: str = "epochs", layer: int | None = None
) -> pd.DataFrame:
    """Fit the line J² = slope · t + intercept, t in epochs, to each run of a sweep.

    Args:
        table: Result of `sweep_curves` with kind `phase`.
        window: `half` fits the ordered phase without its first half (`ordered_window`); [start, end] fits the part of
            the ordered phase between these bounds.
        window_in: Unit of start and end: `epochs`, `rescaled` (epochs × scaling) or `J2`.
        layer: Number of the layer; None selects the first square one (`layer_rows`).

    Returns:
        One row for each run: the columns of its first measurement, those of `lowest_and_last`, and
        slope (per epoch), slope_error, intercept, start, end (epochs), points, bend: as in `Slope`; NaN, points 0, for
            a run without a fit, whose column reason says why.
        bent: Whether the slopes of the window's halves differ by more than half of the slope.
        bend_at_edge: `bend` extrapolated to the epoch at which the line reaches J² = 1 (`MeanSlope.bend_at_edge`); NaN
            for a run without a fit, or whose J² does not grow.
        J2_at_end: J² of the line at the end of the window.
        scaling: eta / ((1 − alpha) B); constant: slope / scaling.
        edge_epoch: Epoch at which J² first reached 1; NaN if it never did.
        steps_per_epoch; epochs: The number of epochs trained.
        settled: Whether J² is constant at the end of training (`Settled`).

    Raises:
        ValueError: `window` or `window_in` is invalid, no run has the layer, or the table has no finite J.
    """
    bounds = window_bounds(window, window_in)
    rows = layer_rows(table, layer)
    return pd.DataFrame([_fit_run(run, bounds, window_in) for _, run in rows.groupby("directory", sort=False)])


def window_bounds(window: Window, window_in: str = "epochs") -> tuple[float, float] | None:
    """Check the setting `window` and return its start and end, or None for `half`.

    Raises:
        ValueError: `window` is neither `half` nor [start, end] with start below end, or is too short for a slope.
    """
    one_of("window_in", window_in, UNITS)
    if window == "half":
        return None
    values: Sequence[Any] = window if isinstance(window, str) else list_of("window", window)
    if len(values) != 2 or not all(isinstance(value, int | float) for value in values) or not values[0] < values[1]:
        raise ValueError(f"window = {values!r}: must be the word half, or [start, end] with start below end")
    if window_in == "epochs" and values[1] - values[0] < MIN_WINDOW:
        raise ValueError(f"window = {values}: must span at least {MIN_WINDOW:g} epochs, so that a slope can be fitted")
    return float(values[0]), float(values[1])


def window_rule(window: Window = "half", window_in: str = "epochs") -> str:
    """Describe the window of a fit in words, for the caption of a figure; arguments as in `phase_slopes`."""
    if (bounds := window_bounds(window, window_in)) is None:
        return f"the last {1 - SKIP:.0%} of the ordered phase (J² < 1), but at least {MIN_WINDOW:g} epochs"
    form = {
        "epochs": "epochs {:g} to {:g}",
        "rescaled": r"rescaled times {:g} to {:g} epochs × $\eta/((1-\alpha)B)$",
        "J2": "J² from {:g} to {:g}",
    }[window_in]
    return form.format(*bounds) + " while J² < 1"


def settings_of_law(slopes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Select, for each of eta, alpha and batch, the runs in which only this setting varies.

    If the table has the column vary, it names the setting that each run varies. Otherwise the other two settings are
    held at the pair of values for which this setting takes the most values.

    Args:
        slopes: Result of `phase_slopes`; only runs without weight decay are used.

    Returns:
        The rows of `slopes` for each setting that takes several values.
    """
    slopes = without_weight_decay(slopes)
    if "vary" in slopes:
        return {name: runs for name in LAW if len(runs := slopes[slopes["vary"] == name])}
    return {name: runs for name in LAW if (runs := _runs_varying(slopes, name))[name].nunique() > 1}


def without_weight_decay(slopes: pd.DataFrame) -> pd.DataFrame:
    """Select the runs whose weight_decay is 0 or missing."""
    return slopes[slopes["weight_decay"].fillna(0) == 0]


def law_variable(name: str, values: Any) -> Any:
    """Return eta, 1/(1 − alpha) or 1/B: the factor of eta / ((1 − alpha) B) for values of the setting `name`."""
    values = np.asarray(values, dtype=np.float64)
    if one_of("setting", name, LAW) == "eta":
        return values
    return 1 / (1 - values) if name == "alpha" else 1 / values


def law_points(slopes: pd.DataFrame, name: str) -> pd.DataFrame:
    """Average the slopes over runs with the same value of a setting, for runs with a slope above 0.

    Args:
        slopes: The runs that vary the setting (`settings_of_law`).
        name: `eta`, `alpha` or `batch`.

    Returns:
        One row for each value of the setting, sorted by x. Columns: the setting; x, see `law_variable`; slope, the mean
        over runs; error, its standard error; runs; bent, the number of runs whose J² is not linear in the window.
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
    """Evaluate A ∝ x^exponent at the x of `law_points`; the curve passes through the geometric mean of the points."""
    x0, A0 = np.exp(np.log(points[["x", "slope"]]).mean())
    return np.asarray(A0 * (points["x"] / x0) ** exponent, np.float64)


def exponents(slopes: pd.DataFrame) -> dict[str, Exponent | None]:
    """Fit the exponent p of A ∝ x^p for each setting that varies.

    Args:
        slopes: Result of `phase_slopes`.

    Returns:
        For each setting of `settings_of_law`, the fit to its `law_points`, or None if there are fewer than three.
    """
    points = {name: law_points(runs, name) for name, runs in settings_of_law(slopes).items()}
    return {name: fit_exponent(rows["x"], rows["slope"]) if len(rows) > 2 else None for name, rows in points.items()}


def constant_spread(slopes: pd.DataFrame) -> dict[str, Any]:
    """Summarize the constant A (1 − alpha) B / eta over all runs without weight decay that have a slope.

    Args:
        slopes: Result of `phase_slopes`.

    Returns:
        runs, their number; mean; sd (NaN for one run); relative_sd, which is sd / mean (NaN if the mean is not above
        0); smallest; largest; ratio, which is largest / smallest (NaN if smallest is not above 0). Empty without runs.
    """
    constants = without_weight_decay(slopes)["constant"].dropna()
    if constants.empty:
        return {}
    mean, sd = float(constants.mean()), float(constants.std())
    low, high = float(constants.min()), float(constants.max())
    shape = {"mean": mean, "sd": sd, "relative_sd": sd / mean if mean > 0 else np.nan, "smallest": low, "largest": high}
    return {"runs": len(constants), **shape, "ratio": high / low if low > 0 else np.nan}


def mean_slope(fits: pd.DataFrame) -> tuple[float, float]:
    """Return the mean slope over rows of `phase_slopes` and its standard error (of the fit if there is one row)."""
    mean, error = fits["slope"].agg(["mean", "sem"]).to_numpy(float)
    return float(mean), float(error if len(fits) > 1 else fits["slope_error"].to_numpy(float)[0])


def _runs_varying(slopes: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the group of runs with equal values of the other two settings in which `name` takes the most values."""
    groups = [runs for _, runs in slopes.groupby([other for other in LAW if other != name])]
    return max(groups, key=lambda runs: runs[name].nunique(), default=slopes[:0])


def _fit_run(run: pd.DataFrame, bounds: tuple[float, float] | None, unit: str) -> dict[str, Any]:
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
        names = ("slope", "slope_error", "intercept", "start", "end", "bend", "bend_at_edge")
        return {**dict.fromkeys(names, np.nan), "points": 0, "bent": False, "reason": str(error)}
    return {
        "slope": fit.A,
        "slope_error": fit.error,
        "intercept": fit.C,
        "start": fit.start,
        "end": fit.end,
        "bend": fit.bend,
        "bend_at_edge": MeanSlope([fit]).bend_at_edge if fit.grows else np.nan,
        "points": fit.points,
        "bent": not fit.linear,
        "reason": "",
    }


def _is_settled(epochs: Array, J2: Array) -> bool:
    try:
        return len(epochs) > 1 and not Settled.of(epochs, J2).moving
    except ValueError:  # the run is too short for a fit
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
    elif unit == "J2":  # from the first measurement with J² ≥ low to the last one before J² first exceeds high
        reached, exceeded = np.flatnonzero(low <= J2), np.flatnonzero(high < J2)
        low = float(epochs[reached[0] if len(reached) else -1])
        high = float(epochs[max(exceeded[0] - 1, 0) if len(exceeded) else -1])
    return max(low, first), min(high, last)
