"""What the curves of a run say of it: under- or overfitting, a plateau, an instability."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from start_training.schedules.curves import Curves
from start_training.schedules.reading import Reading
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
    """The verdict on a run, and what it rests on.

    text: the evidence in words. from_step, rate: where a rise sets in, a plateau begins, or rates become too large,
    and the learning rate there; None where there is none. numbers: what was compared, by name; losses in nats,
    `rise`, `fall_at_end` and `noise` in nats of the logarithm of the loss above its floor.
    """

    verdict: str
    text: str
    from_step: int | None = None
    rate: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Plain data, for summary.json."""
        return {**asdict(self), "numbers": dict(self.numbers)}


def read_clues(
    steps: ArrayLike,
    train_loss: ArrayLike,
    val_loss: ArrayLike,
    *,
    rates: ArrayLike | None = None,
    val_accuracy: ArrayLike | None = None,
    chance: float | None = None,
    diverged_at: int | None = None,
) -> Clues:
    """The verdict on curves of n rows, each (n,), by rising step; NaN where something was not measured.

    Validation loss that still falls at the end: underfitting. That is higher at the end than it has been:
    overfitting, from where it was last lowest; instability where the training loss is, too, or both end at that of a
    guess, or a loss is not finite. That does neither: a plateau, the goal. A plateau after rates that rose, or a ramp
    that ends in instability, is a super-convergence candidate where validation stayed near its best over tenfold
    rates (`wide_rates`). The end decides: what rises in the middle of a cycle and falls again is none of this.

    A fall or rise is one of more than a tenth of the loss (`reading.MATTERS`) and of three standard errors of the
    noise that the curve itself shows (`Trend`). Fewer than six validations are too short to tell. chance: the loss of
    a guess, log(classes); without it the greater of the first losses stands for it. diverged_at: the step of a loss
    that was not finite, if it is in no row.
    Errors: of 3,000 curves made to be these cases by twice the threshold (tests/schedules/made_curves.py; 8 to 200
    points, noise of 0.3 to 5%) 0.5% are misread; of those with 8 to 15 points and noise of 5 to 10%, 18%, most of
    them underfitting that passes for a plateau.
    Source: Smith 2018 (arXiv:1803.09820), on the clues in validation loss; the thresholds are this project's.
    Raises ValueError where the rows are not of one length, or steps do not rise.
    """
    curves = Curves.of(
        steps, train_loss, val_loss, rates=rates, val_accuracy=val_accuracy, chance=chance, diverged_at=diverged_at
    )
    if len(curves.steps) < LEAST_POINTS:
        return _too_few(curves)
    reading = Reading(curves)
    unstable = curves.diverged_at is not None or reading.both_rise or (reading.has_learned and reading.is_lost)
    if not unstable and not reading.has_learned:
        return _not_learning(reading)
    if not unstable and reading.falls:
        return _underfitting(reading)
    if not unstable and reading.rises:
        return _overfitting(reading)
    wide = wide_rates(curves)
    if wide is not None and (not unstable or rises_throughout(curves)):
        return _candidate(reading, wide, unstable)
    return _instability(reading) if unstable else _plateau(reading)


def _too_few(curves: Curves) -> Clues:
    if curves.diverged_at is not None:
        return _diverged(curves)
    if not len(curves.steps):
        return Clues(NO_VALIDATION, f"{NO_VALIDATION}: without validation loss the curves tell nothing of fitting")
    text = f"{TOO_SHORT}: validation loss was measured {len(curves.steps)} times, of {LEAST_POINTS} that it takes"
    return Clues(TOO_SHORT, text)


def _diverged(curves: Curves) -> Clues:
    last = len(curves.steps) - 1
    rate = curves.rate_at(last) if last >= 0 else None
    text = f"{INSTABILITY}: the loss at step {curves.diverged_at} is not finite"
    return Clues(INSTABILITY, text, curves.diverged_at, rate)


def _not_learning(reading: Reading) -> Clues:
    best, top = reading.curves.validation.min(), reading.curves.top
    text = f"{NOT_LEARNING}: validation loss is {best:.3g} at best, and a guess's {top:.3g}"
    return _clues(NOT_LEARNING, text, reading)


def _underfitting(reading: Reading) -> Clues:
    at, validation = reading.last_third, reading.curves.validation
    text = (
        f"{UNDERFITTING}: validation loss still falls at the end, by {1 - validation[-1] / validation[at]:.0%} since "
        f"{_step(reading, at)}, to {validation[-1]:.3g}"
    )
    rates = reading.curves.rates
    if rates is not None and rates[-1] < rates[at] / 2:
        text += f"; the rate fell there from {rates[at]:.2g} to {rates[-1]:.2g}, which alone lowers the loss"
    return _clues(UNDERFITTING, text, reading)


def _overfitting(reading: Reading) -> Clues:
    text = f"{OVERFITTING} from {_step(reading, reading.turn)} on: {_rise(reading)}, while training loss {{}}"
    return _clues(OVERFITTING, text.format(_change_of_training(reading)), reading, reading.turn)


def _instability(reading: Reading) -> Clues:
    curves = reading.curves
    if not reading.rises and not reading.is_lost:
        return _diverged(curves)
    text = f"{INSTABILITY} from {_step(reading, reading.turn)} on: {_rise(reading)}, and training loss with it"
    if reading.is_lost:
        text += ", to that of a guess"
    if curves.diverged_at is not None:
        text += f"; the loss at step {curves.diverged_at} is not finite"
    return _clues(INSTABILITY, text, reading, reading.turn)


def _candidate(reading: Reading, wide: WideRates, unstable: bool) -> Clues:
    text = (
        f"{CANDIDATE}: validation stays near its best at rates from {wide.low:.2g} to {wide.high:.2g}, "
        f"{wide.times:.0f} times as large"
    )
    if unstable:
        text += f", and is unstable above, after {_step(reading, wide.last)}"
    return _clues(CANDIDATE, text, reading, wide.largest, low_rate=wide.low, high_rate=wide.high)


def _plateau(reading: Reading) -> Clues:
    text = (
        f"{PLATEAU}: from {_step(reading, reading.calm)} on validation loss stays near {reading.loss_at_end():.3g}, "
        "and neither falls nor rises at the end"
    )
    return _clues(PLATEAU, text, reading, reading.calm)


def _rise(reading: Reading) -> str:
    return f"validation loss has risen from {reading.curves.validation.min():.3g} to {reading.loss_at_end():.3g}"


def _change_of_training(reading: Reading) -> str:
    before, end = reading.curves.training[reading.turn], reading.training_at_end()
    return f"went from {before:.3g} to {end:.3g}" if np.isfinite(before + end) else "was not measured"


def _step(reading: Reading, at: int) -> str:
    rate = reading.curves.rate_at(at)
    return f"step {reading.curves.steps[at]:.0f}" + (f" (rate {rate:.2g})" if rate is not None else "")


def _clues(verdict: str, text: str, reading: Reading, at: int | None = None, **numbers: float) -> Clues:
    curves, trend = reading.curves, reading.validation
    found = {
        "best_val_loss": float(curves.validation.min()),
        "end_val_loss": reading.loss_at_end(),
        "end_train_loss": reading.training_at_end(),
        "rise": trend.rise(),
        "fall_at_end": trend.fall(),
        "noise": trend.noise,
        **numbers,
    }
    if at is None:
        return Clues(verdict, text, numbers=found)
    return Clues(verdict, text, int(curves.steps[at]), curves.rate_at(at), found)
