"""Without theory, find by trying which scale of the weights keeps lengths and gradients."""

import math

import numpy as np

from start_training.diagnosis.advice import Advice, layer_names, predicted
from start_training.diagnosis.change import Change
from start_training.diagnosis.measurement import LayerMeasurement
from start_training.diagnosis.nets import Nets
from start_training.theory.verdict import FM1, Thresholds, Verdict

TRIES = 6
MARGIN = 0.5  # of the threshold: a trial succeeds within it, so that other draws of the net remain within the threshold


def advise_scales(nets: Nets, measured: LayerMeasurement, thresholds: Thresholds) -> tuple[Advice, LayerMeasurement]:
    """Multiply weights by exp(−rate / 2) from the onset of the drift on, measure again, up to `TRIES` times.

    One step is enough where activations are homogeneous and there are no normalizations or skip connections; nets with
    other activations, such as tanh, need more.

    Args:
        nets: Changed as the advice says.
        measured: Their measurement before.
        thresholds: Of the verdict.

    Returns:
        The advice, whose effect is measured on as many nets as the diagnosis; and the measurement after the last trial.
    """
    total, verdict = Change(), measured.verdict(thresholds)
    if measured.normalized and verdict.backward > abs(verdict.forward):
        return _skip_connections(verdict), measured
    for _ in range(TRIES):
        change = step(measured, verdict)
        if not change.factors:
            break
        nets.change(change)
        total, measured = total.then(change), nets.measure()
        verdict = measured.verdict(thresholds)
        if abs(verdict.drift) <= MARGIN * thresholds.drift:
            break
    if FM1 in verdict.failure_modes:
        largest = max(total.factors.values(), key=lambda factor: abs(math.log(factor)), default=1.0)
        action = (
            "Normalize, take a ReLU, or scale down what branches add to skip connections (by 1/L for L of them): "
            "no scale of the weights alone steadies this net"
        )
        by = f"tried on copies, weights multiplied by up to {largest:.3g}"
        return Advice(action, predicted(verdict, by)), measured
    return Advice(_action(total), predicted(verdict, f"tried on {measured.nets} copies"), change=total), measured


def step(measured: LayerMeasurement, verdict: Verdict) -> Change:
    """The change that counters the drift of a verdict, for the weights that lead to each layer after its onset."""
    backward = abs(verdict.backward) > abs(verdict.forward)
    rates = measured.backward if backward else measured.forward
    layers = np.flatnonzero(rates.known)[verdict.starts or 0 :]
    rate = float(rates.log[layers].mean()) if len(layers) else math.nan
    if not math.isfinite(rate):
        return Change()
    factors = {
        name: math.exp(-rate / 2 / len(measured.feeds[layer + 1]))
        for layer in layers
        for name in measured.feeds[layer + 1]
    }
    # Biases maintain a plateau where lengths no longer fall while gradients, and differences between inputs, still do.
    return Change(factors, zero_biases=backward and verdict.backward < verdict.forward)


def _skip_connections(verdict: Verdict) -> Advice:
    limit = verdict.thresholds.drift
    return Advice(
        "Add skip connections, or take fewer layers: batch normalization makes gradients grow, whatever the weights' "
        "scale",
        f"{int(limit / verdict.backward)} layers, at {verdict.backward:.2f} nats each, would stay within ±{limit:g}",
    )


def _action(change: Change) -> str:
    low, high = min(change.factors.values()), max(change.factors.values())
    times = f"{low:.3g}" if math.isclose(low, high, rel_tol=1e-3) else f"{low:.3g} to {high:.3g}"
    biases = " and set their biases to zero" if change.zero_biases else ""
    return f"Multiply the weights of {layer_names(list(change.factors))} by {times}{biases}"
