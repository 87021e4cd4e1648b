"""The report of the recipe: what was tried, what was chosen, and how it compares with fixed rates."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from start_training.config.errors import typed
from start_training.reports.run_clues import sentence as clues_sentence
from start_training.schedules.budget import Budget
from start_training.studies.search import plus_minus
from start_training.studies.trials import Option

ENOUGH = 100  # steps of a range test: with fewer, what a large rate destroys may not show yet


@dataclass(frozen=True)
class RecipeRuns:
    """All runs of the recipe: range tests of weight decays, short runs of momenta, the last runs, and baselines."""

    budget: Budget
    decays: Sequence[Option]
    momenta: Sequence[Option]
    last: Option
    baselines: Sequence[Option]


def report_of(done: RecipeRuns, overrides: Sequence[str], balance: Sequence[str]) -> str:
    """The report in Markdown.

    Args:
        done: The runs.
        overrides: Those with which the command train repeats the last run.
        balance: Sentences on what to lower for what was raised.
    """
    budget, suggestion, last = done.budget, done.last.tests[0].suggestion, done.last.runs[0].summary
    few = f" Range tests of fewer than {ENOUGH} steps may allow too much." if budget.steps_of_test < ENOUGH else ""
    seeds = f"{len(done.last.runs)} seed{'s' * (len(done.last.runs) > 1)}"
    short = f"{budget.epochs_of_run} epoch{'s' * (budget.epochs_of_run > 1)}"
    lines = [
        f"# The recipe, with {budget.epochs} epochs in all",
        "",
        f"Test accuracy {_percent(done.last.final('test/accuracy'))}, {seeds}.",
        "",
        *_verdicts(done.last, done.baselines),
        "",
        "| | epochs | validation loss | validation accuracy | test accuracy |",
        "|---|---|---|---|---|",
        *(_row(option, budget.epochs) for option in (done.last, *done.baselines)),
        "",
        f"Mean over {seeds} ± standard error. The recipe's last run has {budget.last_run} "
        f"epochs; {budget.tests} range tests of {budget.steps_of_test} steps and {budget.runs} runs of "
        f"{short} took the others.{few}",
        "",
        f"Rate {done.last.max_lr:.2g}: {suggestion['rule']}.",
        "",
        f"Clues of the last run, seed {last['seed']}: {clues_sentence(last['clues'])}",
        *(line for sentence in balance for line in ("", sentence)),
        *_tried(done, short),
        "",
        f"Again: `{typed('train')} {shlex.join(overrides)}`",
    ]
    return "\n".join(lines) + "\n"


def _tried(done: RecipeRuns, short: str) -> list[str]:
    """Tables of the weight decays and momenta that were tried."""
    tests = [f"| {option.name} | {option.max_lr:.3g} | {option.lowest_loss:.4g} |" for option in done.decays]
    runs = [
        f"| {option.name} | {option.max_lr:.2g} | {option.final('val/loss')[0]:.4g} |"
        for option in done.momenta
        if option.runs
    ]
    of_tests = ["", "| range test of | largest rate | lowest validation loss |", "|---|---|---|", *tests]
    return [*of_tests, "", f"| momentum, {short} | rate | validation loss |", "|---|---|---|", *runs]


def _row(option: Option, budget: int) -> str:
    loss, accuracy, test = (option.final(name) for name in ("val/loss", "val/accuracy", "test/accuracy"))
    epochs = budget if option.tests else option.runs[0].summary["epochs"]
    return f"| {option.name} | {epochs} | {plus_minus(*loss)} | {_percent(accuracy)} | {_percent(test)} |"


def _percent(value: tuple[float, float]) -> str:
    mean, error = (100 * number for number in value)
    return f"{mean:.2f}%" if np.isnan(error) else f"{mean:.2f} ± {error:.2f}%"


def _verdicts(last: Option, baselines: Sequence[Option]) -> list[str]:
    """A line for each baseline: the difference in test accuracy, which was not used to choose anything."""
    ours, our_error = last.final("test/accuracy")
    sentences = []
    for baseline in baselines:
        theirs, error = baseline.final("test/accuracy")
        difference, deviation = 100 * (ours - theirs), 100 * float(np.hypot(our_error, error))
        told = " (within two standard errors of none)" if abs(difference) <= 2 * deviation else ""
        spread = " points (one seed)" if np.isnan(deviation) else f" ± {deviation:.2f} points{told}"
        sentences.append(f"- against {baseline.name}: {difference:+.2f}{spread}")
    return sentences
