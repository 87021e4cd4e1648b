"""What the clues of a run say: what the verdict means and its evidence, one sentence each."""

import numpy as np

from start_training.schedules import clue_verdicts as verdicts
from start_training.schedules.curves import Curves
from start_training.schedules.loss_trends import LossTrends
from start_training.schedules.rates.wide_rates import WideRates
from start_training.schedules.regularizers import Regularizers

MEANINGS = {
    verdicts.UNDERFITTING: "the run ended before the net had learned what it can learn",
    verdicts.OVERFITTING: "the net fits its training samples better and other samples worse",
    verdicts.MEMORIZED: "the net knows its training samples by heart, and has no more to learn from them",
    verdicts.REGULARIZED: "the net is kept from fitting even its training samples",
    verdicts.PLATEAU: "the run neither under- nor overfits, which is the goal",
    verdicts.INSTABILITY: "the steps are too large, which is not overfitting",
    verdicts.CANDIDATE: "training works at unusually different learning rates, and may be fast at the largest",
    verdicts.NOT_LEARNING: "the net is not better than guessing",
    verdicts.UNCLEAR: "the validation loss is too noisy to show a plateau, a fall or a rise",
    verdicts.TOO_SHORT: "the run has too few validations for a verdict",
    verdicts.NO_VALIDATION: "the run was not validated",
}


def sentences(verdict: str, evidence: str) -> str:
    """Return what a verdict means and its evidence, which begins with a small letter, as two sentences."""
    return f"{verdict}: {MEANINGS[verdict]}. {evidence[:1].upper()}{evidence[1:]}."


def evidence_of(verdict: str, trends: LossTrends, settings: Regularizers) -> str:
    """Describe the evidence of a verdict on curves that are long enough, except for a super-convergence candidate."""
    lowest = trends.curves.validation.min()
    end = trends.training_at_end
    training = f"training loss ends at {end:.2g}" if np.isfinite(end) else "training loss was not measured"
    validation = f"validation loss at {trends.validation_at_end:.2g}, after a lowest value of {lowest:.2g}"
    late = trends.curves.validation[-trends.validation.window :]
    hidden = "; whether less regularization or a larger net would lower both, curves cannot tell"
    hidden = hidden if trends.is_held_up else ""
    evidence = {
        verdicts.UNDERFITTING: lambda: _fall(trends),
        verdicts.OVERFITTING: lambda: f"{_rise(trends)}, while training loss {_change_of_training(trends)}",
        verdicts.INSTABILITY: lambda: _instability(trends),
        verdicts.NOT_LEARNING: lambda: (
            f"the lowest validation loss is {lowest:.3g}, not clearly below the {trends.curves.top:.3g} of guessing"
        ),
        verdicts.MEMORIZED: lambda: f"{training}, close to 0, and {validation}",
        verdicts.REGULARIZED: lambda: f"with {settings.large}, {training} and {validation}",
        verdicts.UNCLEAR: lambda: (
            f"in the last third of the run validation loss jumps between {late.min():.2g} and {late.max():.2g}, while "
            f"{training}"
        ),
        verdicts.PLATEAU: lambda: (
            f"since {_step(trends, trends.calm)} validation loss stays near {trends.validation_at_end:.3g}, while "
            f"{training}{hidden}"
        ),
    }
    return evidence[verdict]()


def wide_text(trends: LossTrends, wide: WideRates, *, unstable: bool) -> str:
    """Describe the evidence of a super-convergence candidate."""
    text = (
        f"validation loss stays near its minimum at all learning rates from {wide.low:.2g} to {wide.high:.2g}, a "
        f"factor of {wide.times:.0f}"
    )
    return text + (f"; training is unstable after {_step(trends, wide.last)}, at larger rates" if unstable else "")


def diverged_text(curves: Curves) -> str:
    """Describe the evidence of a run whose loss was not finite, and did not rise before."""
    return f"the loss at step {curves.diverged_at} is not finite (NaN or infinity)"


def _fall(trends: LossTrends) -> str:
    validation, rates = trends.curves.validation, trends.curves.rates
    at = len(validation) - trends.validation.window
    text = (
        f"validation loss still falls at the end of the run, by {1 - validation[-1] / validation[at]:.0%} since "
        f"{_step(trends, at)}, to {validation[-1]:.3g}"
    )
    if rates is not None and rates[-1] < rates[at] / 2:
        text += (
            f"; the learning rate fell from {rates[at]:.2g} to {rates[-1]:.2g} since that step, which by itself lowers "
            "the loss"
        )
    return text


def _instability(trends: LossTrends) -> str:
    parts = []
    if trends.rises or trends.is_lost:
        risen = f"since {_step(trends, trends.turn)} {_rise(trends)}"
        parts.append(f"{risen}, and training loss has risen too" if trends.both_rise or trends.is_lost else risen)
    if trends.is_lost:
        parts.append("both are at the loss of guessing")
    elif trends.jumps:
        training = trends.curves.training[-trends.training.window :]
        parts.append(
            f"the mean training loss of an epoch jumps between {training.min():.2g} and {training.max():.2g} in the "
            "last third of the run"
        )
    if trends.curves.diverged_at is not None:
        parts.append(diverged_text(trends.curves))
    return "; ".join(parts)


def _change_of_training(trends: LossTrends) -> str:
    before, end = trends.curves.training[trends.turn], trends.training_at_end
    return f"went from {before:.3g} to {end:.3g}" if np.isfinite(before + end) else "was not measured"


def _rise(trends: LossTrends) -> str:
    return f"validation loss has risen from {trends.curves.validation.min():.3g} to {trends.validation_at_end:.3g}"


def _step(trends: LossTrends, at: int) -> str:
    rate = trends.curves.rate_at(at)
    return f"step {trends.curves.steps[at]:.0f}" + (f" (learning rate {rate:.2g})" if rate is not None else "")
