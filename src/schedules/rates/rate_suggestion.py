"""Suggest learning rates from the curves of a range test: validation loss and score at increasing rates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from start_training.schedules.curves import Array
from start_training.schedules.rates.gain import Gain, running_median
from start_training.schedules.rates.range_table import diverged_at, validated
from start_training.tasks.merit import ACCURACY, Merit, label_of, text_of

SAFETY = 3.0  # max_lr is the rate at which the merit is lost, divided by this factor
COUNTED = 0.5  # a ramp counts if it has at least this fraction of the best gain of all ramps
OF_COARSE = 0.5  # weight of what a coarse ramp finds, where a fine one has the weight 1
LEAST_SAMPLES = 30  # fewest validation samples from which a rate is suggested
LEAST_GAIN = 0.2  # rise of the accuracy that is learning, even if the validation loss is still above chance
NOISE = 5.0  # for a loss that may be negative, the least fall, as a multiple of the usual change between validations
LEAST_FALL = 0.05  # smallest relative fall of the validation loss, from its first value or chance, that is learning
ONE_CYCLE, CYCLICAL = 10, 3  # Smith 2018: max_lr / min_lr is 10–20 in one cycle, and 3–4 in repeated cycles


@dataclass(frozen=True)
class Suggestion:
    """Learning rates suggested by a range test, with the reason for them.

    Attributes:
        max_lr: Largest usable learning rate; NaN if the test suggests none.
        min_lr: Learning rate at which a single cycle begins.
        cyclical_min_lr: Smallest learning rate of a schedule with repeated cycles.
        turned: Whether validation got worse within the test. If not, `max_lr` is a lower bound: the largest tested
            rate divided by `SAFETY`.
        rule: The reason for these rates, or for suggesting none, as a sentence.
    """

    max_lr: float
    min_lr: float
    cyclical_min_lr: float
    turned: bool
    rule: str

    @classmethod
    def of(cls, max_lr: float, rule: str, *, turned: bool = False) -> "Suggestion":
        """Return the suggestion with this largest rate; NaN means that no rate is suggested."""
        return cls(max_lr, max_lr / ONE_CYCLE, max_lr / CYCLICAL, turned, rule)


def suggest(
    curves: pd.DataFrame,
    *,
    chance: float | None = None,
    merit: Merit = ACCURACY,
    samples: int | None = None,
    start: Sequence[float] | None = None,
    others: Sequence[Sequence[float]] = (),
) -> Suggestion:
    """Return the learning rates that a range test suggests.

    max_lr = a / `SAFETY`, where a is the rate at which the merit, validation accuracy + exp(−validation loss), is lost
    (`Gain.lost_at`). exp(−loss) is the geometric mean of the probabilities of the true classes, on the same scale as
    the accuracy; as training diverges, loss gets worse first in some nets and accuracy in others. Other tasks have
    another merit, `merit.combined`, from the loss alone. A test that ends with a loss that is not finite has turned.
    Source: Smith 2018 (arXiv:1803.09820): the largest usable rate is where validation loss begins to rise or
    validation accuracy begins to fall, which the paper judges by eye.

    Args:
        curves: A row for each update of the test with the columns `columns_of(merit)`; NaN where it was not validated.
        merit: The merit of the task; by default that of classification.
        chance: Chance loss, log(number of classes), if known: a net whose loss is never below it has learned nothing,
            unless its accuracy has clearly risen: a loss that begins far above chance may still be above it.
        samples: Number of validation samples; None: unknown. With fewer than `LEAST_SAMPLES` no rate is suggested.
        start: Validation loss and score before the test; None: those after its first update, at a rate so small that
            it changed nothing.
        others: For each other ramp of the test that turned, the rate at which its merit was lost and its weight. If
            this one turned, too, a is the geometric mean, in which it has the weight 1.

    Returns:
        The suggested rates and the reason for them.
    """
    seen = validated(curves, merit)
    loss, score = (seen[name].to_numpy(np.float64) for name in ("val_loss", "score"))
    before = [loss[0] if len(loss) else math.nan, score[0] if len(loss) else math.nan] if start is None else [*start]
    level = min(before[0], math.inf if chance is None else chance)  # above it nothing is learned
    if rule := _nothing(curves, loss, score, [level, before[1]], merit, samples, guessing=level == chance):
        return Suggestion.of(math.nan, rule)
    top, label = float(curves["learning_rate"].iloc[-1]), label_of(merit.score)
    scored, diverged = not np.isnan(score).all(), diverged_at(curves) is not None
    lost = Gain.in_ramp(curves, merit=merit, chance=chance, start=before).lost_at()
    if lost is None and not diverged:
        both = f"loss and {label}" if scored else "loss"
        rule = f"validation {both} did not get worse up to the largest learning rate tested, {top:.3g}"
        return Suggestion.of(top / SAFETY, f"{rule}; max_lr is a third of it; test larger rates")
    best = f"best loss {np.nanmin(loss):.3g}"
    best += f", best {label} {text_of(merit.score, np.nanmax(score))}" if scored else ""
    lost = top if lost is None else lost
    turns = [(lost, 1.0), *others]
    lost = math.exp(sum(weight * math.log(rate) for rate, weight in turns) / sum(weight for _, weight in turns))
    rule = f"validation ({best}) got worse at a learning rate of {lost:.3g}; max_lr is a third of it"
    return Suggestion.of(lost / SAFETY, rule, turned=True)


def decide(ramps: Sequence[pd.DataFrame], **known: Any) -> tuple[int, list[list[float]]]:
    """Return which ramp of an adaptive range test the suggestion is about, and what `suggest` needs of the others.

    That is the first fine ramp that turned, else the coarse one if it did, else a fine one that suggests a rate. A ramp
    with less than half the best gain of all ramps does not count, since it tells little about where that is lost.

    Args:
        ramps: The tables of its ramps, the coarse one first.
        known: merit, chance, start and samples, see `suggest`.
    Returns:
        The number of the ramp, and the argument `others` of `suggest`.
    """
    base = {name: known[name] for name in ("merit", "chance", "start")}
    gains = np.array([gain.best - gain.base for gain in (Gain.in_ramp(ramp, **base) for ramp in ramps)])
    counted = [int(number) for number in np.flatnonzero(gains >= COUNTED * gains.max())] or [0]
    found = [(number, suggest(ramps[number], **known)) for number in counted]
    found.sort(key=lambda one: (one[1].turned, math.isfinite(one[1].max_lr), one[0] > 0), reverse=True)  # stable
    others = [[SAFETY * one.max_lr, 1.0 if number else OF_COARSE] for number, one in found[1:] if one.turned]
    return found[0][0], others


def _nothing(
    curves: pd.DataFrame,
    loss: Array,
    score: Array,
    before: Sequence[float],
    merit: Merit,
    samples: int | None,
    *,
    guessing: bool,
) -> str:
    """Return why a range test suggests no rate, or "".

    `before`: loss and score of a net that has learned nothing; `guessing`: whether the loss is that of guessing.
    """
    first, top = curves["learning_rate"].iloc[[0, -1]]
    if not len(loss) or not math.isfinite(loss[0]):
        return f"training diverged at the first learning rate of the test, {first:.3g}: set a smaller min_lr"
    if samples is not None and samples < LEAST_SAMPLES:
        return (
            f"{samples} validation samples are too few to tell at which rate validation gets worse; "
            f"needs at least {LEAST_SAMPLES}: use more of the data for validation, or set a larger val_samples"
        )
    finite = loss[np.isfinite(loss)]
    positive = before[0] > 0 and (finite > 0).all()
    least = LEAST_FALL * before[0] if positive else NOISE * float(np.median(np.abs(np.diff(finite, prepend=before[0]))))
    if before[0] - finite.min() > least:
        return ""
    if merit.likelihood and running_median(score).max() - before[1] >= LEAST_GAIN:
        return ""
    level = f"{'that of guessing' if guessing else 'its first value'}, {before[0]:.3g}"
    return f"validation loss never fell clearly below {level}: nothing was learned at rates up to {top:.3g}"


def enough(rates: Sequence[float | None]) -> bool:
    """Return whether at least half of range tests suggest a rate; the rates of fewer say little about the net.

    Args:
        rates: The suggested rate of each test; NaN or None for one that suggests none.

    Example:
        >>> enough([0.1, float("nan")]), enough([0.1, None, None, None, None])
        (True, False)
    """
    known = sum(rate is not None and math.isfinite(rate) for rate in rates)
    return known > 0 and 2 * known >= len(rates)


def spread(rates: Sequence[float]) -> dict[str, float]:
    """Return the spread of the learning rates that range tests with several seeds suggest.

    Args:
        rates: Suggested rates; NaN, of a test that suggests none, is left out.

    Returns:
        `smallest`, `largest`, `median` and `geometric_mean` of the rates, and `octaves`, log2(largest / smallest).

    Raises:
        ValueError: all rates are NaN.

    Example:
        >>> spread([0.1, 0.4, float("nan")])["octaves"]
        2.0
    """
    known = np.array([rate for rate in rates if rate is not None and math.isfinite(rate)], dtype=np.float64)
    if not len(known):
        raise ValueError(f"rates = {list(rates)}: no range test suggests a rate; test a wider range of rates")
    logs = np.log2(known)
    return {
        "smallest": float(known.min()),
        "largest": float(known.max()),
        "median": float(2 ** np.median(logs)),
        "geometric_mean": float(2 ** logs.mean()),
        "octaves": float(np.ptp(logs)),
    }
