"""Advice on what to change in a net that will not start training, with the predicted effect of the change."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import methodcaller

import numpy as np

from start_training.diagnosis.change import Change
from start_training.diagnosis.evidence.layer_rates import Array
from start_training.diagnosis.evidence.measurement import LayerMeasurement
from start_training.theory.fully_connected import FullyConnectedLaw
from start_training.theory.residual import ResidualLaw
from start_training.theory.verdict import FM1, FM2, Thresholds, Verdict

TARGET_BETA = 1.0  # beta of a net with width = depth; such nets train in Hanin & Rolnick 2018
WIDEST = 2**20  # largest width that is considered


@dataclass(frozen=True)
class Advice:
    """One recommended change of a net; several pieces of advice are meant to be followed one after the other.

    Attributes:
        action: What to do, as a sentence.
        effect: The verdict after the change as text, which begins with its source: theory, or a measurement on copies.
        change: Change of the weights, to be applied to the initialized net.
        widths: Recommended hidden widths; empty if they should not change.
        overrides: Settings to type after the commands of this package.
    """

    action: str
    effect: str
    change: Change = field(default_factory=Change)
    widths: tuple[int, ...] = ()
    overrides: tuple[str, ...] = ()


def advise_fully_connected(
    law: FullyConnectedLaw, measured: LayerMeasurement, thresholds: Thresholds, log_input_length: float
) -> list[Advice]:
    """Return advice for a fully connected net of known law: first critical weights, then larger widths.

    Weights are changed only in layers where they are not critical, and only for failure mode 1; layers are widened to
    reach `TARGET_BETA` only for failure mode 2. Effects are predicted by theory.

    Args:
        law: Law of the net.
        measured: Measurement of the net, which names the layers.
        thresholds: Thresholds of the verdict.
        log_input_length: log M_0 of the batch.
    """
    verdict = methodcaller("verdict", thresholds, log_input_length=log_input_length)
    advice = []
    if FM1 in verdict(law).failure_modes:
        law, change, action, overrides = _critical(law, measured, thresholds)
        advice.append(Advice(action, predicted(verdict(law)), change=change, overrides=overrides))
    if FM2 in verdict(law).failure_modes:
        law, action = _widened(law, thresholds, verdict)
        widths = tuple(int(width) for width in law.widths)
        overrides = (f"model.widths=[{','.join(map(str, widths))}]",)
        if len(set(widths)) == 1:
            overrides = ("model.widths=null", f"model.depth={len(widths)}", f"model.width={widths[0]}")
        advice.append(Advice(action, predicted(verdict(law)), widths=widths, overrides=overrides))
    return advice


def advise_residual(law: ResidualLaw, thresholds: Thresholds, log_input_length: float) -> list[Advice]:
    """Return advice for a residual net of known law: residual scales 1/L, then critical weights, then larger widths.

    Each change is only recommended if the failure mode it cures remains. Effects are predicted by theory.

    Args:
        law: Law of the net.
        thresholds: Thresholds of the verdict.
        log_input_length: log M_0 of the batch.
    """
    verdict = methodcaller("verdict", thresholds, log_input_length=log_input_length)

    def effect(law: ResidualLaw) -> str:
        total = float(law.log_mean_length(log_input_length)[-1]) - log_input_length
        return f"{predicted(verdict(law))}; E[M_L] / M_0 = {factor(total)}"

    advice, modules = [], len(law.scales)
    if FM1 in verdict(law).failure_modes:
        action = (
            f"Multiply the output of each of the {modules} residual modules by eta = 1/{modules}, so that the sum of "
            f"all eta is 1 instead of {law.scales.sum():.3g}"
        )
        law = replace(law, scales=np.full(modules, 1 / modules))
        advice.append(Advice(action, effect(law), overrides=("model.scales=inverse_depth",)))
    if FM1 in verdict(law).failure_modes:
        action = f"In the residual modules, use weights with kappa 2 instead of {law.kappas.max():.3g} and zero biases"
        law = replace(law, kappas=np.full(law.kappas.shape, 2.0), bias_variances=np.zeros(law.kappas.shape))
        advice.append(Advice(action, effect(law), overrides=("initializer=he_normal",)))
    if FM2 in verdict(law).failure_modes:
        times = 1
        while FM2 in verdict(_wider(law, times)).failure_modes and law.width * times < WIDEST:
            times *= 2
        law = _wider(law, times)
        widths = f"model.width={law.width}", f"model.module_widths=[{','.join(map(str, law.module_widths))}]"
        advice.append(Advice(f"Multiply the width of every layer by {times}", effect(law), overrides=widths))
    return advice


def advise_widths(measured: LayerMeasurement, thresholds: Thresholds) -> Advice:
    """Return advice for a net of unknown law: which layers to widen, and by how much.

    These are the layers that contribute most to the spread of lengths over nets. The spread is predicted from its
    proportionality to 1/n, the reciprocal number of units.
    """
    target = min(TARGET_BETA, thresholds.beta)
    shares, total = measured.spread, float(measured.spread.sum())
    if total <= target:
        return Advice(
            "Widen the layers that the table shows as silent, or give them positive biases: a layer of n ReLU units is "
            "dead with probability 2^−n",
            f"not predicted; the spread of {total:.2g} is within its threshold",
        )
    level = _cap(shares, target)
    wide = np.flatnonzero(shares > level)
    names = layer_names([measured.names[layer + 1] for layer in wide])
    times = float(shares[wide].sum() / (level * len(wide)))
    return Advice(
        f"Multiply the width of {names} by about {times:.2g} (the lengths of each now vary over nets like those of a "
        f"layer of {1 / shares[wide].max():.2g} to {1 / shares[wide].min():.2g} units)",
        f"spread proportional to 1/width: from {total:.3g} to {target:.2g}; standard deviation of log M_d over nets "
        f"about {math.sqrt(5 * target):.2g} nats",
    )


def predicted(verdict: Verdict, source: str = "theory") -> str:
    """Return the numbers of a verdict and its failure modes in one line, after the name of their source."""
    modes = "healthy" if verdict.healthy else "still " + " and ".join(verdict.failure_modes)
    return (
        f"{source}: drift {signed(verdict.drift)} nats, beta {verdict.spread:.3g}, {abs(verdict.dead):.1%} of nets "
        f"dead: {modes}"
    )


def factor(nats: float) -> str:
    """Return exp(nats) as text, such as ×0.167 or ×3.2e+12."""
    with np.errstate(over="ignore"):
        return f"×{np.exp(nats):.3g}"


def signed(value: float) -> str:
    """Return a number with a sign and two decimals as text, never −0.00."""
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def layer_names(names: Sequence[str]) -> str:
    """Return a single name, or the first and the last name with the number of layers, as text."""
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)} layers)"


def _critical(
    law: FullyConnectedLaw, measured: LayerMeasurement, thresholds: Thresholds
) -> tuple[FullyConnectedLaw, Change, str, tuple[str, ...]]:
    """Return the law with critical weights in all layers, the change to reach it, the action and the overrides."""
    retained = np.ones(len(law.kappas))
    retained[1:] = 1 - law.dropout  # dropout scales up the units that it retains
    target = retained / law.activation.second
    off = np.abs(np.log(law.kappas / target)) > thresholds.drift / len(target)
    scales = np.sqrt(target / law.kappas)
    layers, biased = np.flatnonzero(off), bool(law.bias_variances.any())
    change = Change(
        {name: float(scales[layer]) for layer in layers for name in measured.feeds[layer + 1]}, zero_biases=biased
    )
    action = (
        f"Multiply the weights of {layer_names(list(change.factors))} by {_range(scales[off])} "
        f"(kappa {_range(law.kappas[off])} → {_range(target[off])})" + biased * " and set their biases to zero"
    )
    critical = replace(
        law,
        kappas=np.where(off, target, law.kappas),
        bias_variances=np.where(off, 0.0, law.bias_variances),
    )
    he = off.all() and np.allclose(target, 2)
    return critical, change, action, ("initializer=he_normal",) * bool(he)


def _widened(
    law: FullyConnectedLaw, thresholds: Thresholds, verdict: Callable[[FullyConnectedLaw], Verdict]
) -> tuple[FullyConnectedLaw, str]:
    """Return the law with all layers widened to a least width, and the action as text.

    The least width is the smallest one with which beta is at most `TARGET_BETA` and the threshold, without failure
    mode 2.
    """
    target = min(TARGET_BETA, thresholds.beta)

    def enough(least: int) -> bool:
        wider = _at_least(law, least)
        return wider.beta <= target * (1 + 1e-9) and FM2 not in verdict(wider).failure_modes

    least = 1 + bisect_left(range(1, WIDEST), True, key=enough)
    narrow = law.widths < least
    share = float((1 / law.widths[narrow]).sum())
    action = (
        f"Widen {int(narrow.sum())} of {len(law.widths)} hidden layers from {_range(law.widths[narrow])} to {least} "
        f"units (they contribute {share:.3g} to beta = {law.beta:.3g})"
    )
    return _at_least(law, least), action


def _at_least(law: FullyConnectedLaw, least: int) -> FullyConnectedLaw:
    widths = np.maximum(law.widths, least)
    return replace(law, widths=widths, fan_ins=np.concatenate([law.fan_ins[:1], widths[:-1]]))


def _wider(law: ResidualLaw, times: int) -> ResidualLaw:
    return replace(law, width=law.width * times, module_widths=tuple(width * times for width in law.module_widths))


def _cap(shares: Array, total: float) -> float:
    """Return the level c for which Σ min(share, c) equals `total`."""
    ordered = np.sort(shares)
    for index, share in enumerate(ordered):
        level = (total - ordered[:index].sum()) / (len(ordered) - index)
        if level <= share:
            return float(level)
    return float(ordered[-1])


def _range(values: Array) -> str:
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low} to {high}"
