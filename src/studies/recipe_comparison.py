"""Choose between candidates for a setting by short runs, if these tell them apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from start_training.studies.trials import Option

SHORT_SEEDS = 2  # of each candidate: their difference is the noise, against which candidates are told apart
SIGMAS = 2.0  # standard errors by which a candidate has to be better than the default


@dataclass(frozen=True)
class Comparison:
    """Candidates for a setting with their short runs, the default first.

    Args:
        what: The setting in words.
        options: The candidates.
        chosen: The default, or a better candidate that was told apart from it.
        sentence: What was chosen and why.
        told_apart: Whether the short runs distinguish it from the default, or the default from all others.
    """

    what: str
    options: Sequence[Option]
    chosen: Option
    sentence: str
    told_apart: bool


def best(options: Sequence[Option]) -> Option:
    """Return the option with the best mean of its short runs."""
    merit = options[0].merit
    return (min if merit.mode == "min" else max)(options, key=lambda option: option.result[0])


def compared(what: str, options: Sequence[Option]) -> Comparison:
    """Choose the best of several options if it is told apart from the first, the default; else the default.

    The noise is the standard deviation between seeds, pooled over all options. A candidate is told apart if its mean is
    better by `SIGMAS` standard errors of a difference of means.

    Args:
        what: The setting in words.
        options: The candidates with their short runs, the default first.
    """
    default, leader = options[0], best(options)
    values = [[run.metric(option.merit.monitor) for run in option.runs] for option in options]
    finite = [of_option for of_option in values if np.isfinite(of_option).all()]
    noise = float(np.sqrt(np.mean([np.var(of_option, ddof=1) for of_option in finite]))) if finite else np.inf
    error = noise * np.sqrt(2 / SHORT_SEEDS)
    second = leader if leader is not default else best([option for option in options if option is not default])
    difference = abs(default.result[0] - second.result[0])
    apart = bool(difference > SIGMAS * error) or not np.isfinite(default.result[0])
    chosen = leader if apart else default
    numbers = ", ".join(f"{option.name} {_number(option.result[0])}" for option in options)
    verdict = f"{chosen.name} is best" if apart else f"not told apart (noise {_number(noise)}), {chosen.name} is kept"
    sentence = f"{what}: {verdict}; {default.merit.monitor} of runs of {_epochs(default)}: {numbers}"
    return Comparison(what, options, chosen, sentence, apart)


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "diverged"


def _epochs(option: Option) -> str:
    count = option.run_changes["trainer.max_epochs"]
    return f"{count} epoch{'s' * (count > 1)}"
