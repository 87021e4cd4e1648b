"""What a learning rate range test says: the largest rate to train with, from validation loss and accuracy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Array = NDArray[np.float64]
COLUMNS = ("step", "learning_rate", "train_loss", "val_loss", "val_accuracy")

WINDOW = 5  # points of the running median whose extreme is a curve's best: one lucky point is none
LEVELS = np.linspace(0.1, 0.9, 5)  # shares of the gain that are lost one after the other
KEPT = 2 / 3  # of the gain: what keeps as much has not turned
SAFETY = 3.0  # how far below the rate at which everything is lost training stays
LEAST_FALL = 0.05  # of the first validation loss, or of a guess's if that is less: what learns nothing falls by less
ONE_CYCLE, CYCLICAL = 10, 3  # Smith 2018: the smallest rate is 10–20 below the largest, of cyclical rates 3–4


@dataclass(frozen=True)
class Suggestion:
    """Rates to train with, and the rule that they follow from, in words.

    max_lr: the largest usable one; NaN where the test does not say. min_lr: where a single cycle begins.
    cyclical_min_lr: of rates that go up and down all the time. turned: whether the test went on until validation
    got worse, without which max_lr is a lower bound: the same share of the largest rate that was tried.
    """

    max_lr: float
    min_lr: float
    cyclical_min_lr: float
    turned: bool
    rule: str


def suggest(curves: pd.DataFrame, *, chance: float | None = None) -> Suggestion:
    """The rates that a range test admits; curves: a row per update, in columns `COLUMNS`.

    chance: the loss of a guess, log(classes), below which a net has to come, if it is known.
    max_lr = a / `SAFETY`, a the rate at which validation accuracy + exp(−validation loss) is lost (see `turn`). The
    second is the geometric mean of the probabilities given to the right classes: of the same scale as the first, and
    where training goes to pieces the one falls sooner in some nets, the other in others.
    Source: Smith 2018 (arXiv:1803.09820): the largest usable rate is where validation loss turns up, or validation
    accuracy down; the paper leaves it to the eye where that is. Where both are half lost, five seeds agree to 0.8
    octaves (the mean of 12 nets, sets and optimizers), where the first begins to turn to more than 1. A third of that
    rate was right for all of them: 1cycle runs ended within 1.3% of the accuracy at the best of rates an octave apart;
    beyond 2a they were lost.
    """
    seen = curves[curves["val_accuracy"].notna()]
    rates, loss, accuracy = (seen[name].to_numpy(np.float64) for name in ("learning_rate", "val_loss", "val_accuracy"))
    first, top = float(curves["learning_rate"].iloc[0]), float(curves["learning_rate"].iloc[-1])
    if not len(seen) or not math.isfinite(loss[0]):
        return _nothing(f"training diverged at once, at a rate of {first:.3g}: lower min_lr")
    before = loss[0] if chance is None else min(loss[0], chance)
    if before - loss[np.isfinite(loss)].min() <= LEAST_FALL * abs(before):
        of = f"from {loss[0]:.3g}" if before == loss[0] else f"below a guess's {before:.3g}"
        return _nothing(f"validation loss never fell {of}: nothing was learned at rates up to {top:.3g}")
    if diverged_at(curves) is not None:
        rates, loss, accuracy = np.append(rates, top), np.append(loss, math.inf), np.append(accuracy, 0.0)
    lost = turn(rates, accuracy + np.exp(-np.where(np.isfinite(loss), loss, math.inf)))
    if lost is None:
        said = (
            f"neither validation loss nor accuracy had turned by {top:.3g}; max_lr is a third of that: test larger ones"
        )
        return _rates(top / SAFETY, said, turned=False)
    best = f"loss {np.nanmin(loss):.3g}, accuracy {accuracy.max():.1%}"
    said = f"validation was at its best ({best}) below {lost:.3g}, and lost from there on; max_lr is a third of that"
    return _rates(lost / SAFETY, said, turned=True)


def turn(rates: Array, merit: Array) -> float | None:
    """The rate at which a merit that rose is lost again for good; None where it keeps two thirds of what it gained.

    Of the gain since the first point, as a share of the best one: beyond the best, the least-squares fit that nowhere
    rises (isotonic regression in log rate) tells a lasting loss from a passing one. Its falls below each of `LEVELS`
    are averaged, geometrically.
    """
    smooth = _running_median(merit)
    start = int(np.argmax(smooth))
    if not smooth[start] > merit[0] or start == len(merit) - 1:
        return None
    logs = np.log(rates[start:])
    gain = np.clip((merit[start:] - merit[0]) / (smooth[start] - merit[0]), 0, 1)
    weights = np.maximum(np.gradient(logs), np.finfo(np.float64).tiny)  # a rate may end the test twice: 0 apart
    fit = isotonic_regression(gain, weights=weights, increasing=False).x
    if fit[-1] >= KEPT:
        return None
    last = [logs[max(0, int((fit >= level).sum()) - 1)] for level in LEVELS]
    return float(np.exp(np.mean(last)))


def diverged_at(curves: pd.DataFrame) -> int | None:
    """The step whose training loss, or whose validation loss, is not finite: the last; None where all are."""
    last = curves.iloc[-1]
    validated = np.isfinite(last["val_accuracy"])
    lost = not np.isfinite(last["train_loss"]) or (validated and not np.isfinite(last["val_loss"]))
    return int(last["step"]) if lost else None


def described(suggestion: Suggestion, curves: pd.DataFrame) -> dict[str, Any]:
    """A suggestion, and what else the curves come to, as plain data."""
    return {
        **asdict(suggestion),
        "steps": len(curves),
        "diverged_at": diverged_at(curves),
        "best_val_loss": float(curves["val_loss"].min()),
        "best_val_accuracy": float(curves["val_accuracy"].max()),
        "min_rate_tested": float(curves["learning_rate"].iloc[0]),
        "max_rate_tested": float(curves["learning_rate"].iloc[-1]),
    }


def in_short(test: Mapping[str, Any]) -> str:
    """The rate that `described` names; or else why it names none."""
    known = test["max_lr"] is not None and math.isfinite(test["max_lr"])
    return f"max_lr {test['max_lr']:.3g}" if known else str(test["rule"])


def advice(test: Mapping[str, Any]) -> str:
    """What `described` says, in words, with the settings to paste."""
    said = f"range test: {test['rule']}"
    if in_short(test) == test["rule"]:
        return said
    peak = f"optimizer.lr={test['max_lr']:.3g}"
    return (
        f"{said}\n"
        f"    one cycle, from {test['min_lr']:.3g}: {peak} schedule=one_cycle\n"
        f"    cycles, from {test['cyclical_min_lr']:.3g}: {peak} schedule=triangular schedule.start={1 / CYCLICAL:.3g}"
    )


@dataclass(frozen=True)
class Spread:
    """Of the rates that several seeds suggest: octaves is log2(largest / smallest)."""

    count: int
    smallest: float
    largest: float
    geometric_mean: float
    median: float
    octaves: float


def spread(rates: Sequence[float]) -> Spread:
    """How far apart suggestions lie; those that say nothing (NaN) are left out.

    Raises ValueError where none is left.
    """
    known = np.array([rate for rate in rates if rate is not None and math.isfinite(rate)], dtype=np.float64)
    if not len(known):
        raise ValueError(f"rates = {list(rates)}: none of these range tests suggests one")
    logs = np.log2(known)
    mean, median = (float(2**value) for value in (logs.mean(), np.median(logs)))
    return Spread(len(known), float(known.min()), float(known.max()), mean, median, float(np.ptp(logs)))


def _running_median(values: Array) -> Array:
    """The median of the points around each, as many to either side; at the ends, of fewer."""
    sides = [min(index, len(values) - 1 - index, WINDOW // 2) for index in range(len(values))]
    return np.array([np.median(values[at - side : at + side + 1]) for at, side in enumerate(sides)])


def _rates(max_lr: float, rule: str, *, turned: bool) -> Suggestion:
    return Suggestion(max_lr, max_lr / ONE_CYCLE, max_lr / CYCLICAL, turned, rule)


def _nothing(rule: str) -> Suggestion:
    return _rates(math.nan, rule, turned=False)
