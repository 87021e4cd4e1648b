"""What to change in a net that will not start training, and the effect that the change would have."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import methodcaller

import numpy as np

from start_training.diagnosis.change import Change
from start_training.diagnosis.layer_rates import Array
from start_training.diagnosis.measurement import LayerMeasurement
from start_training.theory.fully_connected import FullyConnectedLaw
from start_training.theory.residual import ResidualLaw
from start_training.theory.verdict import FM1, FM2, Thresholds, Verdict

TARGET_BETA = 1.0  # width = depth, at which the paper's nets train
WIDEST = 2**20


@dataclass(frozen=True)
class Advice:
    """One change to make, after those of the advice before it.

    Attributes:
        action: What to do, in words.
        effect: The verdict after it, in words, and whether it is predicted or was tried.
        change: To apply to the initialized net.
        widths: Hidden widths to use instead.
        overrides: Settings to type after this project's commands.
    """

    action: str
    effect: str
    change: Change = field(default_factory=Change)
    widths: tuple[int, ...] = ()
    overrides: tuple[str, ...] = ()


def advise_fully_connected(
    law: FullyConnectedLaw, measured: LayerMeasurement, thresholds: Thresholds, log_input_length: float
) -> list[Advice]:
    """Critical weights for the layers whose weights are not; then widths for `TARGET_BETA`. Effects are predicted."""
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
    """Scales 1/L; where that is not enough, critical weights; then width. Effects are predicted."""
    verdict = methodcaller("verdict", thresholds, log_input_length=log_input_length)

    def effect(law: ResidualLaw) -> str:
        total = float(law.log_mean_length(log_input_length)[-1]) - log_input_length
        return f"{predicted(verdict(law))}; E[M_L] = {factor(total)} of M_0"

    advice, modules = [], len(law.scales)
    if FM1 in verdict(law).failure_modes:
        action = (
            f"Scale what each of the {modules} modules adds by eta = 1/{modules}: their sum is then 1, "
            f"not {law.scales.sum():.3g}"
        )
        law = replace(law, scales=np.full(modules, 1 / modules))
        advice.append(Advice(action, effect(law), overrides=("model.scales=inverse_depth",)))
    if FM1 in verdict(law).failure_modes:
        action = f"Within modules, draw weights with kappa 2, not {law.kappas.max():.3g}, and biases zero"
        law = replace(law, kappas=np.full(law.kappas.shape, 2.0), bias_variances=np.zeros(law.kappas.shape))
        advice.append(Advice(action, effect(law), overrides=("initializer=he_normal",)))
    if FM2 in verdict(law).failure_modes:
        times = 1
        while FM2 in verdict(_wider(law, times)).failure_modes and law.width * times < WIDEST:
            times *= 2
        law = _wider(law, times)
        widths = f"model.width={law.width}", f"model.module_widths=[{','.join(map(str, law.module_widths))}]"
        advice.append(Advice(f"Widen every layer by a factor {times}", effect(law), overrides=widths))
    return advice


def advise_widths(measured: LayerMeasurement, thresholds: Thresholds) -> Advice:
    """Without theory: which layers to widen, those that spread lengths most, and by how much. Effects go as 1/n."""
    target = min(TARGET_BETA, thresholds.beta)
    shares, total = measured.spread, float(measured.spread.sum())
    if total <= target:
        return Advice(
            "Widen the layers that are silent in the table, or give them biases above zero: a layer of n ReLU units "
            "is dead in a share 2^−n of all nets",
            f"a spread of {total:.2g} is no failure",
        )
    level = _cap(shares, target)
    wide = np.flatnonzero(shares > level)
    names = layer_names([measured.names[layer + 1] for layer in wide])
    times = float(shares[wide].sum() / (level * len(wide)))
    return Advice(
        f"Widen {names} about {times:.2g} times (each now varies over nets as if it had "
        f"{1 / shares[wide].max():.2g} to {1 / shares[wide].min():.2g} units)",
        f"spread {total:.3g} → {target:.2g}, as 1/n; log M_d varies over nets by ±{math.sqrt(5 * target):.2g} nats",
    )


def predicted(verdict: Verdict, by: str = "theory") -> str:
    """The numbers of a verdict in one line, after the name of their source."""
    modes = "healthy" if verdict.healthy else "still " + " and ".join(verdict.failure_modes)
    return (
        f"{by}: drift {signed(verdict.drift)} nats, beta {verdict.spread:.3g}, {abs(verdict.dead):.1%} of nets dead: "
        f"{modes}"
    )


def factor(nats: float) -> str:
    """exp(nats) in words: ×0.167, ×3.2e+12."""
    with np.errstate(over="ignore"):
        return f"×{np.exp(nats):.3g}"


def signed(value: float) -> str:
    """Two decimals with a sign, never −0.00."""
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def layer_names(names: Sequence[str]) -> str:
    """The only name, or the first and last one and their number."""
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)} layers)"


def _critical(
    law: FullyConnectedLaw, measured: LayerMeasurement, thresholds: Thresholds
) -> tuple[FullyConnectedLaw, Change, str, tuple[str, ...]]:
    kept = np.ones(len(law.kappas))
    kept[1:] = 1 - law.dropout  # dropout scales up the units that it keeps
    target = kept / law.activation.second
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
    """The smallest width such that no narrower layer is needed for beta ≤ 1, or less where the threshold is."""
    target = min(TARGET_BETA, thresholds.beta)

    def enough(least: int) -> bool:
        wider = _at_least(law, least)
        return wider.beta <= target * (1 + 1e-9) and FM2 not in verdict(wider).failure_modes

    least = 1 + bisect_left(range(1, WIDEST), True, key=enough)
    narrow = law.widths < least
    share = float((1 / law.widths[narrow]).sum())
    action = (
        f"Widen {int(narrow.sum())} of {len(law.widths)} hidden layers, now {_range(law.widths[narrow])} wide, "
        f"to {least} (they make {share:.3g} of beta {law.beta:.3g})"
    )
    return _at_least(law, least), action


def _at_least(law: FullyConnectedLaw, least: int) -> FullyConnectedLaw:
    widths = np.maximum(law.widths, least)
    return replace(law, widths=widths, fan_ins=np.concatenate([law.fan_ins[:1], widths[:-1]]))


def _wider(law: ResidualLaw, times: int) -> ResidualLaw:
    return replace(law, width=law.width * times, module_widths=tuple(width * times for width in law.module_widths))


def _cap(shares: Array, total: float) -> float:
    """The level at which shares, cut there, sum to `total`."""
    ordered = np.sort(shares)
    for index, share in enumerate(ordered):
        level = (total - ordered[:index].sum()) / (len(ordered) - index)
        if level <= share:
            return float(level)
    return float(ordered[-1])


def _range(values: Array) -> str:
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low} to {high}"
