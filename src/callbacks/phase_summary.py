"""Summarize the rows of `phase/` for one layer: the running slope, the entry in summary.json, and a sentence."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from start_training.order_chaos.slope import Slope, fit_slope, ordered_window

Row: TypeAlias = dict[str, Any]
EDGE = 0.02  # |Lyapunov exponent| at the edge of chaos: twice its standard error over 25 iterations of 4 starts
NO_EDGE_AT_1 = "the edge of chaos of this activation is not at J = 1"


def running_slope(curve: Sequence[Row], *, skip: float) -> tuple[float, float]:
    """Compute the slope of J² per epoch so far, and its standard error; NaN while no window is long enough."""
    slope = _fitted(curve, skip)
    return (slope.A, slope.error) if isinstance(slope, Slope) else (math.nan, math.nan)


def summary_of(
    curve: Sequence[Row], *, skip: float, lowest: Mapping[str, Any] | None, edge_at_1: bool = True
) -> dict[str, Any]:
    """Summarize the rows of one layer as a dictionary of plain data.

    Args:
        curve: The layer's rows of `phase/` in order of steps, at least one.
        skip: The share of the ordered phase that precedes the window of the slope.
        lowest: Epoch, step and loss of the lowest test loss; None if it was not recorded.
        edge_at_1: Whether the edge of chaos of the layer's activation is at J = 1; if not, no slope is fitted.
    Returns:
        layer, fan_in, fan_out: name and shape of the layer.
        J0, J, J2, jacobian, lyapunov: the values of the last row.
        edge_at_1: as given.
        slope, slope_error: the growth of J² per epoch and its standard error; None without a fit.
        slope_start, slope_end: the window of the fit in epochs; None without a fit.
        slope_bend: (late − early slope) / slope; None without a fit.
        slope_reason: why there is no fit, or None.
        scaling: eta / ((1 − alpha) B); None if it changed within the window.
        constant: slope / scaling, or None.
        lowest_test_loss, lowest_test_loss_epoch, J_at_lowest_test_loss: None without `lowest`.
    """
    end, fit = curve[-1], _fitted(curve, skip) if edge_at_1 else NO_EDGE_AT_1
    slope = fit if isinstance(fit, Slope) else None
    scaling = _scaling(curve, slope)
    at_lowest = next((row["J"] for row in curve if lowest and row["step"] == lowest["step"]), None)
    return {
        "layer": end["name"],
        **{name: end[name] for name in ("fan_in", "fan_out", "J0", "J", "J2", "jacobian", "lyapunov")},
        "edge_at_1": edge_at_1,
        "slope": slope.A if slope else None,
        "slope_error": slope.error if slope else None,
        "slope_start": slope.start if slope else None,
        "slope_end": slope.end if slope else None,
        "slope_bend": slope.bend if slope else None,
        "slope_reason": fit if isinstance(fit, str) else None,
        "scaling": scaling,
        "constant": slope.A / scaling if slope and scaling else None,
        "lowest_test_loss_epoch": lowest["epoch"] if lowest else None,
        "lowest_test_loss": lowest["loss"] if lowest else None,
        "J_at_lowest_test_loss": at_lowest,
    }


def sentence(phase: Mapping[str, Any]) -> str:
    """Describe the entry `phase` of summary.json in one sentence; numbers that are not finite may be None."""
    J0, J, lyapunov = (_number(phase[name]) for name in ("J0", "J", "lyapunov"))
    beyond = J - 1 if math.isnan(lyapunov) else lyapunov
    side = "at the edge of chaos" if abs(beyond) < EDGE else "ordered" if beyond < 0 else "chaotic"
    side = "not finite" if math.isnan(beyond) else side
    text = f"phase of {phase['layer']}: J0 {J0:.3f}, J {J:.3f}" + (f" ({side})" if phase["edge_at_1"] else "")
    if not math.isnan(lyapunov):
        text += f", Lyapunov {lyapunov:+.3f}"
    return "; ".join(part for part in (text, _slope_in_words(phase), _lowest_in_words(phase)) if part)


def _slope_in_words(phase: Mapping[str, Any]) -> str:
    if phase["slope"] is None:
        return f"no slope of J² ({phase['slope_reason']})"
    window = f"epochs {phase['slope_start']:g} to {phase['slope_end']:g}"
    if phase["slope"] == 0:  # `fit_slope` returns 0 for a slope within rounding error
        return f"J² does not grow ({window})"
    return f"J² grows by {phase['slope']:.4g} ± {phase['slope_error']:.1g} an epoch ({window})"


def _lowest_in_words(phase: Mapping[str, Any]) -> str:
    if phase["lowest_test_loss"] is None:
        return ""
    text = f"lowest test loss {phase['lowest_test_loss']:.4f} in epoch {phase['lowest_test_loss_epoch']}"
    return text if phase["J_at_lowest_test_loss"] is None else f"{text} at J = {phase['J_at_lowest_test_loss']:.3f}"


def _fitted(curve: Sequence[Row], skip: float) -> Slope | str:
    """Fit J² over the ordered phase; return the fit, or the reason why it is not possible."""
    finite = [row for row in curve if math.isfinite(row["J2"])]
    if not finite:
        return "J² was never finite"
    epochs, J2 = [row["epoch"] for row in finite], [row["J2"] for row in finite]
    try:
        return fit_slope(epochs, J2, window=ordered_window(epochs, J2, skip=skip))
    except ValueError as reason:
        return str(reason)


def _scaling(curve: Sequence[Row], slope: Slope | None) -> float | None:
    within = [row["scaling"] for row in curve if slope is None or slope.start <= row["epoch"] <= slope.end]
    return within[0] if len(set(within)) == 1 and math.isfinite(within[0]) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
