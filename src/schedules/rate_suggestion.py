"""Suggest learning rates from the curves of a range test: validation loss and score at increasing rates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from start_training.schedules.curves import Array
from start_training.tasks.merit import ACCURACY, Merit, label_of, text_of

COLUMNS = ("step", "learning_rate", "train_loss", "val_loss", "val_accuracy")  # val_accuracy is NaN for other scores

WINDOW = 5  # points in the running median whose maximum is the best merit, so that a single outlier does not count
LEVELS = np.linspace(0.1, 0.9, 5)  # fractions of the best gain; `turn` averages the rates at which they are lost
KEPT = 2 / 3  # the merit has not turned if at least this fraction of the best gain remains at the end
SAFETY = 3.0  # max_lr is the rate at which the merit is lost, divided by this factor
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


def columns_of(merit: Merit) -> tuple[str, ...]:
    """Return the columns of a range test's table: `COLUMNS`, and one for a score other than accuracy.

    Example:
        >>> columns_of(Merit("r2"))[-2:]
        ('val_accuracy', 'val_r2')
    """
    return COLUMNS if merit.score in ("", ACCURACY.score) else (*COLUMNS, merit.column("val"))


def score_column(curves: pd.DataFrame) -> str:
    """Return the name of the column of a range test's table that holds the score, such as `val_accuracy`."""
    others = [str(name) for name in curves if str(name).startswith("val_") and name not in COLUMNS]
    return next((name for name in others if curves[name].notna().any()), COLUMNS[-1])


def recorded_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return a sweep's table without the columns of settings and metrics, whose names have a dot or a slash."""
    return table[[name for name in table if not {".", "/"} & set(str(name))]]


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
    (see `turn`). exp(−loss) is the geometric mean of the probabilities of the true classes, which has the same scale
    as the accuracy; as training diverges, loss gets worse first in some nets and accuracy in others. Other tasks have
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
    rates, loss, score = (seen[name].to_numpy(np.float64) for name in ("learning_rate", "val_loss", "score"))
    before = [loss[0] if len(loss) else math.nan, score[0] if len(loss) else math.nan] if start is None else [*start]
    level = min(before[0], math.inf if chance is None else chance)  # above it nothing is learned
    if rule := _nothing(curves, loss, score, [level, before[1]], merit, samples):
        return Suggestion.of(math.nan, rule)
    top, label = float(curves["learning_rate"].iloc[-1]), label_of(merit.score)
    scored = not np.isnan(score).all()
    diverged = diverged_at(curves) is not None
    if diverged:
        rates, loss, score = (
            np.append(rates, top),
            np.append(loss, math.inf),
            np.append(score, 0.0 if scored else math.nan),
        )
    before[0] = before[0] if merit.likelihood and scored else level
    base, *values = merit.combined([before[0], *loss], [before[1], *score])
    lost = turn(rates, np.array(values), base)
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


def validated(curves: pd.DataFrame, merit: Merit) -> pd.DataFrame:
    """Return the validated rows of a range test's table, with the score as the column `score`: NaN if it has none."""
    score = curves.get(merit.column("val"), pd.Series(math.nan, curves.index))
    return curves.assign(score=score)[curves["val_loss"].notna() | score.notna()]


def _nothing(
    curves: pd.DataFrame, loss: Array, score: Array, before: Sequence[float], merit: Merit, samples: int | None
) -> str:
    """Return why a range test suggests no rate, or "". `before`: loss and score of a net that has learned nothing."""
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
    if merit.likelihood and _running_median(score).max() - before[1] >= LEAST_GAIN:
        return ""
    level = f"its first value, {loss[0]:.3g}" if before[0] == loss[0] else f"that of guessing, {before[0]:.3g}"
    return f"validation loss never fell clearly below {level}: nothing was learned at rates up to {top:.3g}"


def turn(rates: Array, merit: Array, base: float | None = None) -> float | None:
    """Return the learning rate at which a merit that has risen is lost for good.

    After the best point, the gain above `base`, divided by the best gain, is fitted with a non-increasing
    function of the log rate (isotonic regression), which ignores temporary losses. The result is the geometric mean
    of the rates at which this fit falls below each of `LEVELS`.

    Args:
        rates: Learning rates, shape (n,), increasing.
        merit: A score such as accuracy, larger is better, shape (n,).
        base: The merit before training; None: that of the first point.

    Returns:
        The rate; None if the merit never rises above `base`, is best at the last rate, or still has at least
        two thirds of its gain there.
    """
    smooth = _running_median(merit)
    start = int(np.argmax(smooth))
    base = merit[0] if base is None else base
    if not smooth[start] > base or start == len(merit) - 1:
        return None
    logs = np.log(rates[start:])
    gain = np.clip((merit[start:] - base) / (smooth[start] - base), 0, 1)
    weights = np.maximum(np.gradient(logs), np.finfo(np.float64).tiny)  # the last rate may occur twice, at distance 0
    fit = isotonic_regression(gain, weights=weights, increasing=False).x
    if fit[-1] >= KEPT:
        return None
    last = [logs[max(0, int((fit >= level).sum()) - 1)] for level in LEVELS]
    return float(np.exp(np.mean(last)))


def diverged_at(curves: pd.DataFrame) -> int | None:
    """Return the last step of a range test if its training or validation loss is not finite, else None."""
    last = curves.iloc[-1]
    seen = pd.notna(last["val_loss"]) or pd.notna(last[score_column(curves)])
    lost = not np.isfinite(last["train_loss"]) or (seen and not np.isfinite(last["val_loss"]))
    return int(last["step"]) if lost else None


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


def _running_median(values: Array) -> Array:
    """Return the running median over up to `WINDOW` points; the symmetric window shrinks towards both ends."""
    sides = [min(index, len(values) - 1 - index, WINDOW // 2) for index in range(len(values))]
    return np.array([np.median(values[at - side : at + side + 1]) for at, side in enumerate(sides)])
