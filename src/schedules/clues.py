"""Classify the loss curves of a run as underfitting, overfitting, a plateau or an instability.

- underfitting: the validation loss still falls at the end.
- overfitting: the validation loss has risen since its minimum.
- instability: the training loss has risen too; or both losses end at the chance loss; or a loss is not finite.
- plateau, the goal: the validation loss neither falls nor rises at the end.
- super-convergence candidate: the validation loss stays near its minimum while the learning rate varies by a factor of
  ten or more (see `wide_rates`), and the run ends in a plateau, or in an instability after a rate that only rose.
- not learning: neither loss was ever clearly below the chance loss, that of a classifier that guesses.

Only the end of a run is classified: a loss that rises in the middle of a learning-rate cycle and falls again counts as
neither. A fall or rise has to exceed both a tenth of the loss (`loss_trends.MATTERS`) and three standard errors of the
noise of the curve (`Trend`). Fewer than six validation losses are too few to classify.

Accuracy: of 3,000 synthetic curves that exceed the thresholds of their class by a factor of two
(tests/schedules/made_curves.py; 8 to 200 points, noise of 0.3 to 5%), 0.5% are misclassified. With 8 to 15 points and
noise of 5 to 10%, 18% are misclassified; most of these are underfitting that is called a plateau.
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
    """The verdict on the loss curves of a run, with the measurements it is based on.

    Attributes:
        verdict: One of `VERDICTS`.
        text: The verdict and its evidence as a sentence.
        from_step: The step at which the rise or the plateau begins or, for a super-convergence candidate, the step of
            the largest usable learning rate; None for verdicts without such a step.
        rate: The learning rate at `from_step`, or None if it is unknown.
        numbers: The compared quantities by name. Losses are in nats; `rise`, `fall_at_end` and `noise` are differences
            of log(loss + floor) (see `LossTrends`), so that 0.1 is a change of the loss by about a tenth.
    """

    verdict: str
    text: str
    from_step: int | None = None
    rate: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


def read_clues(curves: Curves) -> Clues:
    """Classify the loss curves of a run by the rules in the docstring of this module.

    Args:
        curves: The curves, as built by `Curves.of` from the columns of a metrics table.

    Returns:
        The verdict, its evidence as a sentence, and the compared numbers.

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
        text = f"{NO_VALIDATION}: no validation loss was recorded, so under- and overfitting cannot be recognized"
        return Clues(NO_VALIDATION, text)
    text = f"{TOO_SHORT}: a verdict needs {LEAST_POINTS} validation losses, and this run has {len(curves.steps)}"
    return Clues(TOO_SHORT, text)


def _diverged(curves: Curves) -> Clues:
    rate = curves.rate_at(-1) if len(curves.steps) else None
    text = f"{INSTABILITY}: the loss at step {curves.diverged_at} is not finite (NaN or infinity)"
    return Clues(INSTABILITY, text, curves.diverged_at, rate)


def _not_learning(trends: LossTrends) -> Clues:
    curves = trends.curves
    lowest = f"the lowest validation loss is {curves.validation.min():.3g}"
    text = f"{NOT_LEARNING}: {lowest}, not clearly below the {curves.top:.3g} of guessing"
    return _clues(NOT_LEARNING, text, trends)


def _underfitting(trends: LossTrends) -> Clues:
    validation, rates = trends.curves.validation, trends.curves.rates
    at = len(validation) - trends.validation.window
    text = (
        f"{UNDERFITTING}: validation loss still falls at the end of the run, by "
        f"{1 - validation[-1] / validation[at]:.0%} since {_step(trends, at)}, to {validation[-1]:.3g}"
    )
    if rates is not None and rates[-1] < rates[at] / 2:
        text += (
            f"; the learning rate fell from {rates[at]:.2g} to {rates[-1]:.2g} since that step, which by itself lowers "
            "the loss"
        )
    return _clues(UNDERFITTING, text, trends)


def _overfitting(trends: LossTrends) -> Clues:
    before, end = trends.curves.training[trends.turn], trends.training_at_end
    change = f"went from {before:.3g} to {end:.3g}" if np.isfinite(before + end) else "was not measured"
    text = f"{OVERFITTING} since {_step(trends, trends.turn)}: {_rise(trends)}, while training loss {change}"
    return _clues(OVERFITTING, text, trends, trends.turn)


def _instability(trends: LossTrends) -> Clues:
    curves = trends.curves
    if not trends.rises and not trends.is_lost:
        return _diverged(curves)
    text = f"{INSTABILITY} since {_step(trends, trends.turn)}: {_rise(trends)}, and training loss has risen too"
    if trends.is_lost:
        text += "; both are at the loss of guessing"
    if curves.diverged_at is not None:
        text += f"; the loss at step {curves.diverged_at} is not finite (NaN or infinity)"
    return _clues(INSTABILITY, text, trends, trends.turn)


def _candidate(trends: LossTrends, wide: WideRates, unstable: bool) -> Clues:
    text = (
        f"{CANDIDATE}: validation loss stays near its minimum at all learning rates from {wide.low:.2g} to "
        f"{wide.high:.2g}, a factor of {wide.times:.0f}"
    )
    if unstable:
        text += f"; training is unstable after {_step(trends, wide.last)}, at larger rates"
    return _clues(CANDIDATE, text, trends, wide.largest, low_rate=wide.low, high_rate=wide.high)


def _plateau(trends: LossTrends) -> Clues:
    text = (
        f"{PLATEAU}: since {_step(trends, trends.calm)} validation loss stays near {trends.validation_at_end:.3g}, "
        "and it neither falls nor rises at the end of the run"
    )
    return _clues(PLATEAU, text, trends, trends.calm)


def _rise(trends: LossTrends) -> str:
    return f"validation loss has risen from {trends.curves.validation.min():.3g} to {trends.validation_at_end:.3g}"


def _step(trends: LossTrends, at: int) -> str:
    rate = trends.curves.rate_at(at)
    return f"step {trends.curves.steps[at]:.0f}" + (f" (learning rate {rate:.2g})" if rate is not None else "")


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
