"""The report of Smith's recipe in Markdown: what was chosen, and how it compares with fixed learning rates."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from start_training.config.errors import shell_command
from start_training.reports.run_clues import sentence as clues_sentence
from start_training.schedules.budget import Budget
from start_training.studies.search import plus_minus, score_text
from start_training.studies.trials import Option
from start_training.tasks.merit import ACCURACY, label_of

MIN_TEST_STEPS = 100  # shorter range tests may end before the damage of a large learning rate shows


@dataclass(frozen=True)
class RecipeRuns:
    """All range tests and training runs of Smith's recipe.

    `decays` are weight decays with their range tests, `momenta` are momenta with their range tests and short runs,
    `last` is the chosen option with its last run for each seed, and `baselines` are fixed learning rates.
    """

    budget: Budget
    decays: Sequence[Option]
    momenta: Sequence[Option]
    last: Option
    baselines: Sequence[Option]


def report_of(recipe: RecipeRuns, overrides: Sequence[str], balance: Sequence[str]) -> str:
    """Write the report of Smith's recipe in Markdown.

    Args:
        recipe: The runs of the recipe.
        overrides: The overrides with which the command train repeats the last run.
        balance: Sentences on which regularization to lower in exchange for settings that the recipe raised.
    """
    budget, suggestion, last = recipe.budget, recipe.last.tests[0].suggestion, recipe.last.runs[0].summary
    few, score = budget.steps_of_test < MIN_TEST_STEPS, label_of(recipe.last.merit.score)
    seeds = f"{len(recipe.last.runs)} seed{'s' * (len(recipe.last.runs) > 1)}"
    short = f"{budget.epochs_of_run} epoch{'s' * (budget.epochs_of_run > 1)}"
    lines = [
        f"# The recipe, with {budget.epochs} epochs in all",
        "",
        f"Test {score} {_score(recipe.last)}, {seeds}.",
        "",
        *_differences(recipe.last, recipe.baselines),
        "",
        f"| | epochs | validation loss | validation {score} | test {score} |",
        "|---|---|---|---|---|",
        *(_row(option, budget.epochs) for option in (recipe.last, *recipe.baselines)),
        "",
        f"Mean over {seeds} ± standard error. The recipe's last run has {budget.last_run} "
        f"epochs; {budget.tests} range tests of {budget.steps_of_test} steps and {budget.runs} runs of "
        f"{short} took the other epochs.",
        *["", f"Range tests of fewer than {MIN_TEST_STEPS} steps may suggest too large a learning rate."] * few,
        "",
        f"Largest learning rate {recipe.last.max_lr:.2g}: {suggestion['rule']}.",
        "",
        f"Clues from the curves of the last run, seed {last['seed']}: {clues_sentence(last['clues'])}",
        *(line for sentence in balance for line in ("", sentence)),
        *_search_tables(recipe, short),
        "",
        f"To repeat the last run: `{shell_command('train')} {shlex.join(overrides)}`",
    ]
    return "\n".join(lines) + "\n"


def _search_tables(recipe: RecipeRuns, short: str) -> list[str]:
    """Return the Markdown lines of two tables: the tested weight decays and the tested momenta."""
    tests = [f"| {option.name} | {option.max_lr:.3g} | {option.lowest_loss:.4g} |" for option in recipe.decays]
    runs = [
        f"| {option.name} | {option.max_lr:.2g} | {option.result[0]:.4g} |" for option in recipe.momenta if option.runs
    ]
    decay_table = ["", "| range test with | largest rate | lowest validation loss |", "|---|---|---|", *tests]
    return [*decay_table, "", f"| momentum, {short} | largest rate | validation loss |", "|---|---|---|", *runs]


def _row(option: Option, budget: int) -> str:
    loss = option.final("val/loss")
    epochs = budget if option.tests else option.runs[0].summary["epochs"]
    return f"| {option.name} | {epochs} | {plus_minus(*loss)} | {_score(option, 'val')} | {_score(option)} |"


def _score(option: Option, stage: str = "test") -> str:
    return score_text(option.merit.score, *option.final(option.merit.metric(stage)))


def _differences(last: Option, baselines: Sequence[Option]) -> list[str]:
    """Return a Markdown line for each baseline: the test score of the recipe's last run minus the baseline's."""
    merit, label = last.merit, label_of(last.merit.score)
    factor, points = (100, " points") if merit.score == ACCURACY.score else (1, "")
    lines, (score, score_error) = list[str](), last.final(merit.metric("test"))
    for baseline in baselines:
        baseline_score, error = baseline.final(merit.metric("test"))
        difference, deviation = factor * (score - baseline_score), factor * float(np.hypot(score_error, error))
        note = " (not significant: within two standard errors of 0)" if abs(difference) <= 2 * deviation else ""
        spread = f"{points} (one seed)" if np.isnan(deviation) else f" ± {deviation:.2f}{points}{note}"
        lines.append(f"- test {label} of the recipe minus that of {baseline.name}: {difference:+.2f}{spread}")
    return lines
