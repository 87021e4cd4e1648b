"""Findings on the signal in a net: growth along paths, jumps, agreement of initializations, what becomes alike."""

import math
from typing import Any, NamedTuple

import numpy as np

from start_training.diagnosis import limits
from start_training.diagnosis.advice import factor, signed
from start_training.diagnosis.evidence.measurement import LayerMeasurement
from start_training.diagnosis.evidence.net_measurement import FEWEST, NetMeasurement
from start_training.diagnosis.finding import NO, NOT_JUDGED, NOT_TOLD, YES, Finding, compared, listed
from start_training.diagnosis.prediction import Prediction
from start_training.theory.verdict import FM1, Thresholds, Verdict

STEADY = 0.01  # nats per layer, below which a change is not worth a factor


class PathVerdict(NamedTuple):
    """A path with its measurement and verdict."""

    measured: LayerMeasurement
    verdict: Verdict
    bypassed: bool

    @property
    def excess(self) -> tuple[bool, float]:
        """Order of paths from good to bad."""
        drift = abs(self.verdict.drift)
        return FM1 in self.verdict.failure_modes, drift if math.isfinite(drift) else math.inf


def path_verdicts(measured: NetMeasurement, thresholds: Thresholds) -> list[PathVerdict]:
    """Return the verdict of each path, the worst first."""
    verdicts = [PathVerdict(path, path.verdict(thresholds), around) for path, around in measured.measured_paths]
    return sorted(verdicts, key=lambda path: path.excess, reverse=True)


def growth(paths: list[PathVerdict], prediction: Prediction | None, thresholds: Thresholds) -> Finding:
    """Failure mode 1: growth of lengths or gradients that goes on with depth, on the worst path."""
    path, verdict, bypassed = paths[0]
    name = "growth with depth (failure mode 1)"
    if path.depth < FEWEST and not (prediction and prediction.verdict):
        text = f"no path has more than {FEWEST} measured layers"
        return Finding(name=name, answer=NOT_JUDGED, text=text)
    source = ""
    if prediction and prediction.verdict:
        verdict, source = prediction.verdict, f" by {prediction.heading}"
    limit = verdict.thresholds.drift
    answer = compared(abs(verdict.drift), limit, verdict.error)
    where = f"{path.names[1]} … {path.names[-1]}"
    settings: dict[str, Any] = {
        "value": verdict.drift,
        "limit": limit,
        "error": verdict.error,
        "place": where,
    }
    if not math.isfinite(verdict.drift):
        first = path.names[min((verdict.starts or 0) + 1, path.depth)]
        text = f"lengths or gradients become zero, infinite or NaN from {first} on"
        return Finding(name=name, answer=YES, text=text, todo="see the finding on dead or not finite parts", **settings)
    back = abs(verdict.backward) > abs(verdict.forward) * (1 + 1e-3)
    what, rate = ("gradients", verdict.backward) if back else ("lengths", verdict.forward)
    error = f" ± {2 * verdict.error:.2g}" if verdict.error else ""
    change = (
        "hardly change" if abs(rate) < STEADY else f"{'grow' if rate > 0 else 'shrink'} by {factor(rate)} per layer"
    )
    text = f"{what} {change}, {signed(verdict.drift)}{error} nats "
    text += f"along {where}{source}; limit ±{limit:g} for SGD, ±{thresholds.drift_adam:g} for Adam"
    fine = [one.measured.names[-1] for one in paths if FM1 not in one.verdict.failure_modes]
    parallel = answer == YES and bypassed and (bool(fine) or len(paths) == 1)
    if parallel:
        text += f"; other parts of the net bypass it{f' ({fine[0]})' if fine else ''}"
    settings["defect"] = "dead" if parallel and verdict.backward < 0 else ""
    return Finding(name=name, answer=answer, text=text, todo=_scale_advice(verdict) if answer != NO else "", **settings)


def _scale_advice(verdict: Verdict) -> str:
    return "scale the weights of these layers (the advice below, or initialize_)" if verdict.starts is not None else ""


def jump(paths: list[PathVerdict]) -> Finding:
    """One layer that changes lengths by orders of magnitude, where the others do not."""
    largest, place, beside = 0.0, "", 0.0
    for path, *_ in paths:
        first = 1 if path.names[0] == "input" else 0  # inputs have any scale
        ratios = np.abs(np.where(np.isfinite(path.forward.log), path.forward.log, 0.0))[first:]
        if len(ratios) and ratios.max() > abs(largest):
            at = int(ratios.argmax())
            others = np.delete(ratios, at)
            largest, place = float(path.forward.log[first + at]), path.names[first + at + 1]
            beside = float(np.median(others)) if len(others) else 0.0
    sudden: bool = abs(largest) > limits.JUMP and abs(largest) > 3 * beside
    text = f"largest step of one layer {signed(largest)} nats" + (f", at {place}" if place else "")
    return Finding(
        name="one outlying layer",
        answer=YES if sudden else NO,
        text=text + (f"; the others change by {beside:.2g}" if sudden else f"; limit {limits.JUMP:g}"),
        value=abs(largest),
        limit=limits.JUMP,
        place=place,
        defect="jump" * sudden,
        todo=f"multiply the weights that feed {place} by {math.exp(-largest / 2):.3g}" * sudden,
    )


def agreement(paths: list[PathVerdict], prediction: Prediction | None, thresholds: Thresholds) -> Finding:
    """Failure mode 2: initializations differ in lengths, or some are dead."""
    path, verdict, _ = max(paths, key=lambda path: (path.verdict.spread, path.verdict.dead))
    source = ""
    if prediction and prediction.verdict:
        verdict, source = prediction.verdict, f" by {prediction.heading}"
    answer = compared(verdict.spread, thresholds.beta, verdict.spread_error)
    if verdict.dead > thresholds.dead and answer == NO:
        few = verdict.dead - 2 * math.sqrt(verdict.dead * (1 - verdict.dead) / path.nets) <= thresholds.dead
        answer = NOT_TOLD if few and not source else YES
    deviation = math.sqrt(5 * max(verdict.spread, 0)) if math.isfinite(verdict.spread) else math.inf
    error = f" ± {2 * verdict.spread_error:.2g}" if verdict.spread_error else ""
    text = f"log-lengths differ by {deviation:.2g} nats, beta {verdict.spread:.2g}{error}{source}, limit "
    text += f"{thresholds.beta:g}"
    if round(verdict.dead, 2) > 0:
        text += f"; {verdict.dead:.0%} of initializations are dead, limit {thresholds.dead:.0%}"
    return Finding(
        name="initializations differ (failure mode 2)",
        answer=answer,
        text=text,
        value=verdict.spread,
        limit=thresholds.beta,
        error=verdict.spread_error,
        todo="widen the narrow layers, or use fewer" if answer == YES else "measure more nets (nets=…)",
    )


def constant(measured: NetMeasurement, *, wakes: bool) -> Finding:
    """Layers whose activations are the same for every input, or zero, while those that feed them are not.

    Args:
        measured: The measurement.
        wakes: Whether every parameter of the net is trained and gets a gradient in the first steps: layers that begin
            at 0 on purpose, such as the last ones of the branches of a flow, are then not dead.
    """
    name, by_net = "dead parts", measured.readings_of("variation")
    with np.errstate(divide="ignore"):
        logs = np.log(np.median(by_net, axis=0))  # NaN for layers without samples of their own, and for a single sample
    if np.isnan(logs[1:]).all():
        return Finding(name=name, answer=NOT_JUDGED, text="one sample does not tell what all have in common")
    dead, worst = list[int](), 0.0
    for index, place in enumerate(measured.places, start=1):
        if place is None or np.isnan(logs[index]):
            continue
        before = [other for other in measured.places[: index - 1] if other is not None and other.bits & place.inputs]
        reference = logs[measured.places.index(before[-1]) + 1] if before else logs[0]
        if math.isfinite(reference):
            worst = max(worst, reference - logs[index])
            if reference - logs[index] > limits.CONSTANT:
                dead.append(index)
    all_draws = bool((by_net[:, dead] < 1e-8).all())
    is_dead = bool(dead) and all_draws and not wakes
    drop_text = "to nothing, but it wakes in the first steps" if math.isinf(worst) else f"by {worst:.1f} nats at most"
    return Finding(
        name=name,
        answer=YES if is_dead else NO,
        text=f"{listed([measured.names[index] for index in dead])}: the same output for every input; it learns nothing"
        if is_dead
        else f"a layer reduces the variation over samples {drop_text}; limit {limits.CONSTANT:g}",
        value=worst,
        limit=limits.CONSTANT,
        place=measured.names[dead[0]] if dead else "",
        defect="dead" * is_dead,
        todo="set the biases of this layer to zero, and its weights to those of initialize_" * is_dead,
    )


def tokens(measured: NetMeasurement) -> Finding:
    """Rank collapse: the tokens or nodes of a sample become alike."""
    distances = np.median(measured.readings_of("tokens"), axis=0)
    known = np.flatnonzero(np.isfinite(distances[1:]) & np.array([place is not None for place in measured.places])) + 1
    name = "tokens become alike (rank collapse)"
    if not len(known):
        return Finding(name=name, answer=NO, text="the net has no tokens")
    first = distances[0] if np.isfinite(distances[0]) and distances[0] > 0 else float(distances[known].max())
    last = int(known[-1])
    share = float(distances[last]) / min(first, 1.0) if first > 0 else 1.0
    bad = bool(share < limits.TOKENS)
    text = f"1 − cosine between tokens at {measured.names[last]} is {distances[last]:.2g}, {first:.2g} at the input"
    return Finding(
        name=name,
        answer=YES if bad else NO,
        text=text + "; attention or averaging cannot tell them apart" * bad,
        value=share,
        limit=limits.TOKENS,
        place=measured.names[last],
        defect="rank_collapse" * bad,
        todo="add skip connections or normalize before attention, scale branches by 1/√(2L)" * bad,
    )


def sensitivity(measured: NetMeasurement) -> Finding:
    """Chaos: a small change of the inputs decides the outputs."""
    name, growth = "small changes grow (chaos)", measured.mechanisms.sensitivity
    if math.isnan(growth):
        return Finding(
            name=name, answer=NO, text="not measured: the inputs are no real numbers, or a layer is constant"
        )
    bad = growth > limits.CHAOS
    text = f"relative to the differences between samples they grow by {signed(growth)} nats, limit {limits.CHAOS:g}"
    return Finding(
        name=name,
        answer=YES if bad else NO,
        text=text + "; neighbours of a sample are treated as unrelated" * bad,
        value=growth,
        limit=limits.CHAOS,
        todo="smaller weights or frequencies, or skip connections" * bad,
    )
