"""Classify the end of the loss curves of a run, from their trends, the gap between them, their noise and the settings.

- not learning: neither loss was ever clearly below the chance loss, that of a classifier that guesses.
- too much regularization: weight decay or dropout is large (`Regularizers`), and the net does not fit its training
  samples either: their loss ends above a twentieth of the chance loss, and validation loss at most twice as high.
- instability: a loss is not finite; or both losses have risen, or are at the chance loss again; or the mean training
  loss of an epoch, well above 0, jumps by more than a tenth.
- memorized: training loss is almost 0, and validation loss far above it (`LossTrends.has_memorized`).
- underfitting: the validation loss still falls at the end.
- overfitting: the validation loss has risen since its minimum, and the training loss has not.
- super-convergence candidate: the validation loss stays near its minimum while the learning rate varies by a factor of
  ten or more (see `wide_rates`), and the run ends in a plateau, or in an instability after a rate that only rose.
- cannot tell: the validation loss jumps by more than a rise or fall that would matter.
- plateau, the goal: none of these; the validation loss neither falls nor rises at the end.

Only the end of a run is classified: a loss that rises in the middle of a learning-rate cycle and falls again counts as
neither. A fall or rise has to exceed both a tenth of the loss (`loss_trends.MATTERS`; a fall 6% if the net does not fit
its training samples) and three standard errors of the noise of the curve (`Trend`). Fewer than six validation losses
are too few to classify.

Accuracy: docs/smith.md states how often verdicts are right on real runs (tests/schedules/clue_cases.py). Of 3,000
synthetic curves that exceed the thresholds of their class by a factor of two (tests/schedules/made_curves.py; 8 to 200
points, noise of 0.3 to 5%), 0.6% are misclassified.
Source: Smith 2018 (arXiv:1803.09820), on the clues in validation loss; the other classes and all thresholds are this
project's.
"""

from start_training.schedules import clue_verdicts as verdicts
from start_training.schedules.clue_texts import diverged_text, evidence_of, sentences, wide_text
from start_training.schedules.clue_verdicts import Clues
from start_training.schedules.curves import Curves
from start_training.schedules.loss_trends import LossTrends
from start_training.schedules.rates.wide_rates import WideRates, rises_throughout, wide_rates
from start_training.schedules.regularizers import Regularizers

LEAST_POINTS = 6


def read_clues(curves: Curves, settings: Regularizers | None = None) -> Clues:
    """Classify the loss curves of a run by the rules in the docstring of this module.

    Args:
        curves: The curves, as built by `Curves.of` from the columns of a metrics table.
        settings: The regularization of the run; None if it is unknown, so that too much of it is not recognized.

    Returns:
        The verdict, what it means and its evidence in one sentence each, and the compared numbers.

    Example:
        >>> import numpy as np
        >>> steps = np.arange(1, 31)
        >>> loss = 0.2 + 2 * np.exp(-steps / 3)
        >>> read_clues(Curves.of(steps, loss, loss)).verdict
        'plateau'
        >>> read_clues(Curves.of(steps, loss, loss + 0.1 * np.maximum(steps - 15, 0))).verdict
        'overfitting'
        >>> read_clues(Curves.of(steps, loss, loss), Regularizers(weight_decay=0.1)).verdict
        'too much regularization'
    """
    settings = settings or Regularizers()
    if len(curves.steps) < LEAST_POINTS:
        return _too_few(curves)
    trends = LossTrends(curves)
    verdict = _verdict(trends, settings)
    wide = wide_rates(curves)
    if wide is not None and (
        verdict in (verdicts.PLATEAU, verdicts.UNCLEAR)
        or (verdict == verdicts.INSTABILITY and rises_throughout(curves))
    ):
        return _candidate(trends, wide, unstable=verdict == verdicts.INSTABILITY)
    if verdict == verdicts.INSTABILITY and not (trends.rises or trends.is_lost or trends.jumps):
        return _diverged(curves)
    return _clues(verdict, evidence_of(verdict, trends, settings), trends, _begin(verdict, trends))


def _verdict(trends: LossTrends, settings: Regularizers) -> str:
    """Return the verdict on curves that are long enough, unless their rates make them a super-convergence candidate."""
    if trends.curves.diverged_at is not None:
        return verdicts.INSTABILITY
    if settings.large and trends.is_held_up and not trends.jumps:
        return verdicts.REGULARIZED
    if not trends.has_learned:
        return verdicts.NOT_LEARNING
    if trends.has_memorized(regularized=not settings.hardly_any):
        return verdicts.OVERFITTING if trends.rises else verdicts.MEMORIZED
    if trends.both_rise or trends.is_lost or trends.jumps:
        return verdicts.INSTABILITY
    if trends.falls:
        return verdicts.UNDERFITTING
    if trends.rises:
        return verdicts.OVERFITTING
    return verdicts.UNCLEAR if trends.is_unclear else verdicts.PLATEAU


def _begin(verdict: str, trends: LossTrends) -> int | None:
    """Return the index of the validation after which the loss rises or stays; None for verdicts without one."""
    if verdict == verdicts.OVERFITTING or (verdict == verdicts.INSTABILITY and (trends.rises or trends.is_lost)):
        return trends.turn
    return trends.calm if verdict == verdicts.PLATEAU else None


def _too_few(curves: Curves) -> Clues:
    if curves.diverged_at is not None:
        return _diverged(curves)
    if not len(curves.steps):
        evidence = "no validation loss was recorded, so that under- and overfitting cannot be recognized"
        return Clues(verdicts.NO_VALIDATION, sentences(verdicts.NO_VALIDATION, evidence))
    evidence = f"a verdict needs {LEAST_POINTS} validation losses, and this run has {len(curves.steps)}"
    return Clues(verdicts.TOO_SHORT, sentences(verdicts.TOO_SHORT, evidence))


def _diverged(curves: Curves) -> Clues:
    rate = curves.rate_at(-1) if len(curves.steps) else None
    return Clues(verdicts.INSTABILITY, sentences(verdicts.INSTABILITY, diverged_text(curves)), curves.diverged_at, rate)


def _candidate(trends: LossTrends, wide: WideRates, *, unstable: bool) -> Clues:
    evidence = wide_text(trends, wide, unstable=unstable)
    return _clues(verdicts.CANDIDATE, evidence, trends, wide.largest, low_rate=wide.low, high_rate=wide.high)


def _clues(verdict: str, evidence: str, trends: LossTrends, at: int | None, **numbers: float) -> Clues:
    curves, trend, text = trends.curves, trends.validation, sentences(verdict, evidence)
    compared = {
        "best_val_loss": float(curves.validation.min()),
        "end_val_loss": trends.validation_at_end,
        "end_train_loss": trends.training_at_end,
        "rise": trend.rise(),
        "fall_at_end": trend.fall(),
        "noise": trend.noise,
        "train_noise": trends.training.noise,
        **numbers,
    }
    if at is None:
        return Clues(verdict, text, numbers=compared)
    return Clues(verdict, text, int(curves.steps[at]), curves.rate_at(at), compared)
