"""The verdict on the loss curves of a run: under- or overfitting, a plateau, an instability.

- underfitting: the validation loss still falls at the end.
- overfitting: the validation loss is higher at the end than before.
- instability: the training loss is higher at the end, too; or both end at the loss of a guess; or a loss is not finite.
- plateau, the goal: the validation loss neither falls nor rises at the end.
- super-convergence candidate: a plateau after rates that rose, or a rising ramp that ends in instability, if the
  validation stayed near its best over tenfold rates (see `wide_rates`).
- not learning: neither loss was ever clearly below that of a guess.

Only the end counts: a loss that rises in the middle of a cycle and falls again is none of these. A fall or rise exceeds
both a tenth of the loss (`loss_trends.MATTERS`) and three standard errors of the curve's noise (`Trend`). Fewer than
six validations are too short to tell.

Errors: 0.5% are misread of 3,000 curves that were made to be these cases by twice the threshold
(tests/schedules/made_curves.py; 8 to 200 points, noise of 0.3 to 5%). With 8 to 15 points and noise of 5 to 10%, 18%
are misread, most of them underfitting that is called a plateau.
Source: Smith 2018 (arXiv:1803.09820), on the clues in validation loss; the thresholds are this project's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from start_training.schedules.curves import Curves
from start_training.schedules.loss_trends import LossTrends
from start_training.schedules.wide_rates import WideRates, rises_throughout, wide_rates

UNDERFITTING = "underfitting"
OVERFITTING = "overfitting"
PLATEAU = "plateau"
INSTABILITY = "instability"
CANDIDATE = "super-convergence candidate"
NOT_LEARNING = "not learning"
TOO_SHORT = "too short to tell"
NO_VALIDATION = "no validation data"
VERDICTS = (UNDERFITTING, OVERFITTING, PLATEAU, INSTABILITY, CANDIDATE, NOT_LEARNING, TOO_SHORT, NO_VALIDATION)

LEAST_POINTS = 6


@dataclass(frozen=True)
class Clues:
    """The verdict on a run, and the measurements behind it.

    Attributes:
        verdict: One of `VERDICTS`.
        text: The verdict and its evidence in words.
        from_step: The step at which a rise or a plateau begins, or the rate becomes too large; None without one.
        rate: The learning rate at that step; None where it is unknown.
        numbers: What was compared, by name. Losses are in nats; `rise`, `fall_at_end` and `noise` are in nats of the
            logarithm of the loss plus its floor (see `LossTrends`).
    """

    verdict: str
    text: str
    from_step: int | None = None
    rate: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


def read_clues(curves: Curves) -> Clues:
    """The verdict on the loss curves of a run, by the rules at the top of this file.

    Args:
        curves: From the rows of a metrics table, see `Curves.of`.

    Example:
        >>> steps = np.arange(1, 31)
        >>> loss = 0.2 + 2 * np.exp(-steps / 3)
        >>> read_clues(Curves.of(steps, loss, loss)).verdict
        'plateau'
        >>> read_clues(Curves.of(steps, loss, loss + 0.1 * np.maximum(steps - 15, 0))).verdict
        'overfitting'
    """
    if len(curves.steps) < LEAST_POINTS:
        return _too_few(curves)
    trends = LossTrends(curves)
    unstable = curves.diverged_at is not None or trends.both_rise or (trends.has_learned and trends.is_lost)
    if not unstable and not trends.has_learned:
        return _not_learning(trends)
    if not unstable and trends.falls:
        return _underfitting(trends)
    if not unstable and trends.rises:
        return _overfitting(trends)
    wide = wide_rates(curves)
    if wide is not None and (not unstable or rises_throughout(curves)):
        return _candidate(trends, wide, unstable)
    return _instability(trends) if unstable else _plateau(trends)


def _too_few(curves: Curves) -> Clues:
    if curves.diverged_at is not None:
        return _diverged(curves)
    if not len(curves.steps):
        return Clues(NO_VALIDATION, f"{NO_VALIDATION}: without validation loss the curves tell nothing of fitting")
    measured = f"validation loss was measured {len(curves.steps)} times, of {LEAST_POINTS} that it takes"
    return Clues(TOO_SHORT, f"{TOO_SHORT}: {measured}")


def _diverged(curves: Curves) -> Clues:
    rate = curves.rate_at(-1) if len(curves.steps) else None
    text = f"{INSTABILITY}: the loss at step {curves.diverged_at} is not finite"
    return Clues(INSTABILITY, text, curves.diverged_at, rate)


def _not_learning(trends: LossTrends) -> Clues:
    curves = trends.curves
    text = f"{NOT_LEARNING}: validation loss is {curves.validation.min():.3g} at best, and a guess's {curves.top:.3g}"
    return _clues(NOT_LEARNING, text, trends)


def _underfitting(trends: LossTrends) -> Clues:
    validation, rates = trends.curves.validation, trends.curves.rates
    at = len(validation) - trends.validation.window
    text = (
        f"{UNDERFITTING}: validation loss still falls at the end, by {1 - validation[-1] / validation[at]:.0%} since "
        f"{_step(trends, at)}, to {validation[-1]:.3g}"
    )
    if rates is not None and rates[-1] < rates[at] / 2:
        text += f"; the rate fell there from {rates[at]:.2g} to {rates[-1]:.2g}, which alone lowers the loss"
    return _clues(UNDERFITTING, text, trends)


def _overfitting(trends: LossTrends) -> Clues:
    before, end = trends.curves.training[trends.turn], trends.training_at_end
    change = f"went from {before:.3g} to {end:.3g}" if np.isfinite(before + end) else "was not measured"
    text = f"{OVERFITTING} from {_step(trends, trends.turn)} on: {_rise(trends)}, while training loss {change}"
    return _clues(OVERFITTING, text, trends, trends.turn)


def _instability(trends: LossTrends) -> Clues:
    curves = trends.curves
    if not trends.rises and not trends.is_lost:
        return _diverged(curves)
    text = f"{INSTABILITY} from {_step(trends, trends.turn)} on: {_rise(trends)}, and training loss with it"
    if trends.is_lost:
        text += ", to that of a guess"
    if curves.diverged_at is not None:
        text += f"; the loss at step {curves.diverged_at} is not finite"
    return _clues(INSTABILITY, text, trends, trends.turn)


def _candidate(trends: LossTrends, wide: WideRates, unstable: bool) -> Clues:
    text = (
        f"{CANDIDATE}: validation stays near its best at rates from {wide.low:.2g} to {wide.high:.2g}, "
        f"{wide.times:.0f} times as large"
    )
    if unstable:
        text += f", and is unstable above, after {_step(trends, wide.last)}"
    return _clues(CANDIDATE, text, trends, wide.largest, low_rate=wide.low, high_rate=wide.high)


def _plateau(trends: LossTrends) -> Clues:
    text = (
        f"{PLATEAU}: from {_step(trends, trends.calm)} on validation loss stays near {trends.validation_at_end:.3g}, "
        "and neither falls nor rises at the end"
    )
    return _clues(PLATEAU, text, trends, trends.calm)


def _rise(trends: LossTrends) -> str:
    return f"validation loss has risen from {trends.curves.validation.min():.3g} to {trends.validation_at_end:.3g}"


def _step(trends: LossTrends, at: int) -> str:
    rate = trends.curves.rate_at(at)
    return f"step {trends.curves.steps[at]:.0f}" + (f" (rate {rate:.2g})" if rate is not None else "")


def _clues(verdict: str, text: str, trends: LossTrends, at: int | None = None, **numbers: float) -> Clues:
    curves, trend = trends.curves, trends.validation
    compared = {
        "best_val_loss": float(curves.validation.min()),
        "end_val_loss": trends.validation_at_end,
        "end_train_loss": trends.training_at_end,
        "rise": trend.rise(),
        "fall_at_end": trend.fall(),
        "noise": trend.noise,
        **numbers,
    }
    if at is None:
        return Clues(verdict, text, numbers=compared)
    return Clues(verdict, text, int(curves.steps[at]), curves.rate_at(at), compared)
