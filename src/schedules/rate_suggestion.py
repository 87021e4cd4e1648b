"""The learning rates that a range test suggests, from the validation loss and accuracy at rising rates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from start_training.schedules.curves import Array

COLUMNS = ("step", "learning_rate", "train_loss", "val_loss", "val_accuracy")

WINDOW = 5  # points of the running median whose extreme is a curve's best, so that one lucky point does not count
LEVELS = np.linspace(0.1, 0.9, 5)  # shares of the gain that are lost one after the other
KEPT = 2 / 3  # of the gain: a merit that keeps as much has not turned
SAFETY = 3.0  # training stays by this factor below the rate at which everything is lost
LEAST_FALL = 0.05  # of the first validation loss, or of a guess's if that is less: a smaller fall is no learning
ONE_CYCLE, CYCLICAL = 10, 3  # Smith 2018: the largest rate over the smallest is 10–20, of cyclical rates 3–4


@dataclass(frozen=True)
class Suggestion:
    """Learning rates to train with, and the rule from which they follow, in words.

    Attributes:
        max_lr: The largest usable rate; NaN where the test gives none.
        min_lr: The rate at which a single cycle begins.
        cyclical_min_lr: The smallest of rates that rise and fall throughout a run.
        turned: Whether the test went on until validation got worse. Otherwise max_lr is a lower bound: the same share
            of the largest rate that was tried.
        rule: Why these rates, or why none.
    """

    max_lr: float
    min_lr: float
    cyclical_min_lr: float
    turned: bool
    rule: str

    @classmethod
    def of(cls, max_lr: float, rule: str, *, turned: bool = False) -> "Suggestion":
        """The suggestion with this largest rate; with NaN, none."""
        return cls(max_lr, max_lr / ONE_CYCLE, max_lr / CYCLICAL, turned, rule)


def suggest(curves: pd.DataFrame, *, chance: float | None = None) -> Suggestion:
    """The learning rates that a range test suggests.

    max_lr = a / `SAFETY`, where a is the rate at which the merit, validation accuracy + exp(−validation loss), is lost
    (see `turn`). exp(−loss) is the geometric mean of the probabilities of the right classes, and so on the same scale
    as accuracy; in some nets the one falls first as training diverges, in others the other.
    Source: Smith 2018 (arXiv:1803.09820): the largest usable rate is where validation loss begins to rise, or
    validation accuracy to fall, which the paper leaves to the reader's eye. The rate at which merit is half lost
    agrees between five seeds to 0.8 octaves (mean of 12 nets, data sets and optimizers); the rate at which it begins
    to turn only to more than 1. A third of it was right for all 12: 1cycle runs ended within 1.3% of the accuracy at
    the best of rates an octave apart; beyond 2a training was lost.

    Args:
        curves: A row for each update of the test, in columns `COLUMNS`; NaN where it was not validated.
        chance: The loss of a guess, log(number of classes), if known: a net that is never below it learned nothing.
    """
    seen = curves[curves["val_accuracy"].notna()]
    rates, loss, accuracy = (seen[name].to_numpy(np.float64) for name in ("learning_rate", "val_loss", "val_accuracy"))
    first, top = float(curves["learning_rate"].iloc[0]), float(curves["learning_rate"].iloc[-1])
    if not len(seen) or not math.isfinite(loss[0]):
        return Suggestion.of(math.nan, f"training diverged at once, at a rate of {first:.3g}: lower min_lr")
    before = loss[0] if chance is None else min(loss[0], chance)
    if before - loss[np.isfinite(loss)].min() <= LEAST_FALL * abs(before):
        of = f"from {loss[0]:.3g}" if before == loss[0] else f"below a guess's {before:.3g}"
        rule = f"validation loss never fell {of}: nothing was learned at rates up to {top:.3g}"
        return Suggestion.of(math.nan, rule)
    if diverged_at(curves) is not None:
        rates, loss, accuracy = np.append(rates, top), np.append(loss, math.inf), np.append(accuracy, 0.0)
    lost = turn(rates, accuracy + np.exp(-np.where(np.isfinite(loss), loss, math.inf)))
    if lost is None:
        rule = f"neither validation loss nor accuracy had turned by {top:.3g}"
        return Suggestion.of(top / SAFETY, f"{rule}; max_lr is a third of that: test larger ones")
    best = f"loss {np.nanmin(loss):.3g}, accuracy {accuracy.max():.1%}"
    rule = f"validation was at its best ({best}) below {lost:.3g}, and lost from there on; max_lr is a third of that"
    return Suggestion.of(lost / SAFETY, rule, turned=True)


def turn(rates: Array, merit: Array) -> float | None:
    """The learning rate at which a merit that rose is lost again for good.

    Beyond the best point, the gain since the first point, as a share of the best gain, is fitted by least squares with
    a function that never rises (isotonic regression in log rate), which ignores passing losses. The rates at which the
    fit falls below each of `LEVELS` are averaged geometrically.

    Args:
        rates: Learning rates, shape (n,), rising.
        merit: Larger is better, shape (n,).

    Returns:
        The rate; None where two thirds of the gain or more are kept at the end.
    """
    smooth = _running_median(merit)
    start = int(np.argmax(smooth))
    if not smooth[start] > merit[0] or start == len(merit) - 1:
        return None
    logs = np.log(rates[start:])
    gain = np.clip((merit[start:] - merit[0]) / (smooth[start] - merit[0]), 0, 1)
    weights = np.maximum(np.gradient(logs), np.finfo(np.float64).tiny)  # the last rate may be there twice: 0 apart
    fit = isotonic_regression(gain, weights=weights, increasing=False).x
    if fit[-1] >= KEPT:
        return None
    last = [logs[max(0, int((fit >= level).sum()) - 1)] for level in LEVELS]
    return float(np.exp(np.mean(last)))


def diverged_at(curves: pd.DataFrame) -> int | None:
    """The last step of a range test if its training or validation loss is not finite; otherwise None."""
    last = curves.iloc[-1]
    validated = np.isfinite(last["val_accuracy"])
    lost = not np.isfinite(last["train_loss"]) or (validated and not np.isfinite(last["val_loss"]))
    return int(last["step"]) if lost else None


def described(suggestion: Suggestion, curves: pd.DataFrame) -> dict[str, Any]:
    """A suggestion and a summary of the range test's curves as plain data, for summary.json."""
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
    """The largest rate of a test that `described` gave; the reason where there is none."""
    known = test["max_lr"] is not None and math.isfinite(test["max_lr"])
    return f"max_lr {test['max_lr']:.3g}" if known else str(test["rule"])


def advice(test: Mapping[str, Any]) -> str:
    """The rule of a test that `described` gave, and below it the settings to type."""
    lines = [f"range test: {test['rule']}"]
    if in_short(test) != test["rule"]:
        peak = f"optimizer.lr={test['max_lr']:.3g}"
        lines += [
            f"    one cycle, from {test['min_lr']:.3g}: {peak} schedule=one_cycle",
            f"    cycles, from {test['cyclical_min_lr']:.3g}: "
            f"{peak} schedule=triangular schedule.start={1 / CYCLICAL:.3g}",
        ]
    return "\n".join(lines)


def spread(rates: Sequence[float]) -> dict[str, float]:
    """How far apart the rates are that several seeds suggest; NaN, from a test that suggests none, is left out.

    Returns:
        smallest, largest, median and geometric_mean; octaves, which is log2(largest / smallest).

    Raises:
        ValueError: all rates are NaN.

    Example:
        >>> spread([0.1, 0.4, float("nan")])["octaves"]
        2.0
    """
    known = np.array([rate for rate in rates if rate is not None and math.isfinite(rate)], dtype=np.float64)
    if not len(known):
        raise ValueError(f"rates = {list(rates)}: none of these range tests suggests one")
    logs = np.log2(known)
    return {
        "smallest": float(known.min()),
        "largest": float(known.max()),
        "median": float(2 ** np.median(logs)),
        "geometric_mean": float(2 ** logs.mean()),
        "octaves": float(np.ptp(logs)),
    }


def _running_median(values: Array) -> Array:
    """The median of the points around each, equally many on both sides, and fewer at the ends."""
    sides = [min(index, len(values) - 1 - index, WINDOW // 2) for index in range(len(values))]
    return np.array([np.median(values[at - side : at + side + 1]) for at, side in enumerate(sides)])
