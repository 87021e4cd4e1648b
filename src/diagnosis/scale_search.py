"""Advice for nets of unknown law: find by trials the scale of the weights that keeps lengths and gradients constant."""

import math

import numpy as np

from start_training.diagnosis.advice import Advice, layer_names, predicted
from start_training.diagnosis.change import Change
from start_training.diagnosis.evidence.measurement import LayerMeasurement
from start_training.diagnosis.evidence.nets import Nets
from start_training.diagnosis.signal_findings import path_verdicts
from start_training.theory.verdict import FM1, Thresholds, Verdict

TRIES = 6
MARGIN = 0.5  # a trial succeeds if the drift is within this fraction of its threshold, since other draws differ


def advise_scales(nets: Nets, measured: LayerMeasurement, thresholds: Thresholds) -> tuple[Advice, LayerMeasurement]:
    """Rescale the weights until lengths and gradients no longer drift, and return this as advice.

    Each trial multiplies the weights of the layers from the onset of the drift on by exp(−rate / 2) and measures again;
    there are up to `TRIES` trials. One is enough for homogeneous activations without normalizations and skip
    connections; other nets, such as tanh nets, need several.

    Args:
        nets: The nets; the changes are applied to them.
        measured: Measurement of the nets before the trials.
        thresholds: Thresholds of the verdict.

    Returns:
        The advice, whose effect is measured on all nets, and the measurement after the last trial.
    """
    total, verdict = Change(), measured.verdict(thresholds)
    if measured.normalized and verdict.backward > abs(verdict.forward):
        return _skip_connections(verdict), measured
    for _ in range(TRIES):
        change = step(measured, verdict)
        if not change.factors:
            break
        nets.change(change)
        total, measured = total.then(change), _worst(nets, thresholds)
        verdict = measured.verdict(thresholds)
        if abs(verdict.drift) <= MARGIN * thresholds.drift:
            break
    if FM1 in verdict.failure_modes:
        largest = max(total.factors.values(), key=lambda factor: abs(math.log(factor)), default=1.0)
        action = (
            "Mend it by fix_, which tries each layer and each branch; or add normalization layers, use ReLU "
            "activations, or multiply the output of each of L residual branches by 1/L"
        )
        source = f"tried on copies: weights from the onset of the drift on multiplied by up to {largest:.3g}"
        return Advice(action, predicted(verdict, source)), measured
    return Advice(_action(total), predicted(verdict, f"measured on {measured.nets} copies"), change=total), measured


def _worst(nets: Nets, thresholds: Thresholds) -> LayerMeasurement:
    return path_verdicts(nets.measure(), thresholds)[0].measured


def step(measured: LayerMeasurement, verdict: Verdict) -> Change:
    """Return the change that compensates the drift of a verdict.

    It multiplies the weights that feed each layer after the onset of the drift by exp(−rate / 2), with the mean rate
    of these layers; if several weighted layers feed one layer, each gets an equal root of this factor.
    """
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
    # If gradients shrink faster than lengths, biases keep the lengths up while differences between inputs vanish.
    return Change(factors, zero_biases=backward and verdict.backward < verdict.forward)


def _skip_connections(verdict: Verdict) -> Advice:
    limit = verdict.thresholds.drift
    return Advice(
        "Add skip connections, or use fewer layers: batch normalization makes gradients grow at any scale of the "
        "weights",
        f"{int(limit / verdict.backward)} layers, with {verdict.backward:.2f} nats each, would have a drift within "
        f"±{limit:g} nats",
    )


def _action(change: Change) -> str:
    low, high = min(change.factors.values()), max(change.factors.values())
    times = f"{low:.3g}" if math.isclose(low, high, rel_tol=1e-3) else f"{low:.3g} to {high:.3g}"
    biases = " and set their biases to zero" if change.zero_biases else ""
    return f"Multiply the weights of {layer_names(list(change.factors))} by {times}{biases}"
