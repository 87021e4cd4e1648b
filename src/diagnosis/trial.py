"""Without theory, find by trying which scale of weights keeps lengths and gradients."""

import math

import numpy as np

from start_training.diagnosis.advice import Advice, layer_names, predicted
from start_training.diagnosis.change import Change
from start_training.diagnosis.measurement import Measurement
from start_training.diagnosis.nets import Nets
from start_training.theory.verdict import FM1, Thresholds, Verdict

TRIES = 6
MARGIN = 0.5  # of the threshold: what a trial is content with, lest other draws of the cured net lie beyond it


def advise_scales(nets: Nets, measured: Measurement, thresholds: Thresholds) -> tuple[Advice, Measurement]:
    """Multiply weights by exp(−rate / 2) from where the drift starts on, measure again, up to `TRIES` times.

    One step is enough where activations are homogeneous and nothing normalizes or skips; tanh and its like need more.
    The effect is what the last trial measured, by as many nets as the diagnosis; it comes along.
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
        return _no_scale_helps(total, verdict), measured
    return Advice(_action(total), predicted(verdict, f"tried on {measured.nets} copies"), change=total), measured


def _skip_connections(verdict: Verdict) -> Advice:
    limit = verdict.thresholds.drift
    return Advice(
        "Add skip connections, or take fewer layers: batch normalization makes gradients grow, whatever the weights' "
        "scale",
        f"{int(limit / verdict.backward)} layers, at {verdict.backward:.2f} nats each, would stay within ±{limit:g}",
    )


def _no_scale_helps(change: Change, verdict: Verdict) -> Advice:
    return Advice(
        "Normalize, take a ReLU, or scale down what branches add to skip connections (by 1/L for L of them): "
        "no scale of the weights alone steadies this net",
        predicted(verdict, f"tried on copies, weights multiplied by up to {_largest(change):.3g}"),
    )


def step(measured: Measurement, verdict: Verdict) -> Change:
    """The change against the drift of a verdict: of the weights that lead to each layer after its onset."""
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
    # Biases feed a plateau where lengths no longer fall and gradients, and differences between inputs, still do.
    return Change(factors, zero_biases=backward and verdict.backward < verdict.forward)


def _action(change: Change) -> str:
    low, high = min(change.factors.values()), max(change.factors.values())
    times = f"{low:.3g}" if math.isclose(low, high, rel_tol=1e-3) else f"{low:.3g} to {high:.3g}"
    biases = " and set their biases to zero" if change.zero_biases else ""
    return f"Multiply the weights of {layer_names(list(change.factors))} by {times}{biases}"


def _largest(change: Change) -> float:
    return max(change.factors.values(), key=lambda factor: abs(math.log(factor)), default=1.0)
