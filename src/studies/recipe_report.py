"""The report of the recipe in Markdown: what was chosen and why, and how it compares with training as usual."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from start_training.config.errors import shell_command
from start_training.reports.run_clues import sentence as clues_sentence
from start_training.studies.recipe_search import RecipeSearch
from start_training.studies.search import plus_minus, score_text
from start_training.studies.trials import Option, Trial
from start_training.tasks.merit import ACCURACY, label_of


@dataclass(frozen=True)
class RecipeRuns:
    """All that the recipe has trained.

    Args:
        search: Range tests, comparisons, and what was decided.
        last: The chosen option with its last run for each seed.
        baselines: Training as usual.
        warning: That the net will not start to train, before the search; "": it will.
    """

    search: RecipeSearch
    last: Option
    baselines: Sequence[Option]
    warning: str = ""

    @property
    def longest_baselines(self) -> list[Option]:
        """The baselines of the most epochs: a shorter run at a constant rate is the beginning of a longer one."""
        most = max((option.run_changes["trainer.max_epochs"] for option in self.baselines), default=0)
        return [option for option in self.baselines if option.run_changes["trainer.max_epochs"] == most]


def report_of(recipe: RecipeRuns, overrides: Sequence[str], balance: Sequence[str]) -> str:
    """Write the report in Markdown.

    Args:
        recipe: What was trained.
        overrides: The overrides with which the command train repeats the last run.
        balance: Sentences on which regularization to lower in exchange for settings that the recipe raised.
    """
    budget, last = recipe.search.budget, recipe.last.runs[0].summary
    lines = [
        f"# The recipe, with {budget.epochs} epochs in all",
        "",
        *(f"- {line}" for line in conclusions(recipe)),
        "",
        *_table(recipe),
        "",
        _accounts(recipe),
        *_comparisons(recipe),
        "",
        f"Clues from the curves of the last run, seed {last['seed']}: {clues_sentence(last['clues'])}",
        *(line for sentence in balance for line in ("", sentence)),
        "",
        f"To repeat the last run: `{shell_command('train')} {shlex.join(overrides)}`",
    ]
    return "\n".join(lines) + "\n"


def conclusions(recipe: RecipeRuns) -> list[str]:
    """Return at most five lines: what was chosen, why, what was (not) told apart, what happened, and who was better."""
    search, last = recipe.search, recipe.last
    optimizer = search.optimizer(last.changes)
    name = str(optimizer["_target_"]).rpartition(".")[2]
    chosen = f"{name}, largest rate {optimizer['lr']:.2g}, weight decay {optimizer.get('weight_decay', 0):g}"
    result = f", test {label_of(last.merit.score)} {_score(last)}" if last.merit.score else ""
    compared = [comparison.sentence for comparison in search.comparisons]
    happened = [sentence for run in last.runs for sentence in recovered(run)]
    lines = [
        [f"Chosen: {chosen}; {search.budget.last_run} of {search.budget.epochs} epochs in the last run{result}."],
        [_why(search)],
        [f"{sentence}." for sentence in (*compared, *search.skipped, _kept(search))],
        [*([recipe.warning] if recipe.warning else []), *happened],
        _against(last, recipe.baselines),
    ]
    return [" ".join(line) for line in lines if line]


def _why(search: RecipeSearch) -> str:
    """Return why this learning rate."""
    if search.fallbacks:
        return f"Fallback: {'; '.join(search.fallbacks)}."
    rules = "; ".join(str(option.tests[0].suggestion["rule"]) for option in search.tested)
    return f"The rate lies between that of a range test and a usual one: {rules}."


def _kept(search: RecipeSearch) -> str:
    """Return which settings were not searched."""
    compared = {comparison.what for comparison in search.comparisons}
    kept = [what for what in ("weight decay", "momentum") if what not in compared]
    return f"Not searched, a usual value is kept: {', '.join(kept)}" if kept else "All settings were compared"


def recovered(run: Trial) -> list[str]:
    """Return sentences about the restarts of a last run, and the epoch whose weights were kept."""
    made = run.summary.get("recovery") or {}
    seed, lines = run.summary["seed"], []
    for restart in made.get("restarts") or []:
        lines.append(
            f"The last run, seed {seed}, collapsed at step {restart['step']} ({restart['reason']}): it went on from "
            f"step {restart['back_to']} at half the rate."
        )
    if kept := made.get("kept"):
        epochs = run.summary["epochs"]
        lines.append(f"The weights of epoch {kept['epoch']:g} of {epochs} are kept, seed {seed}: the end is worse.")
    if run.summary["status"] == "diverged":
        lines.append(f"The last run, seed {seed}, diverged: set a smaller range_tests.range_test.max_lr.")
    return lines


def _against(last: Option, baselines: Sequence[Option]) -> list[str]:
    """Return a sentence for each baseline: by how much the recipe is better, after a warning if one is better."""
    merit = last.merit
    metric = merit.metric("test") if merit.score else merit.monitor
    factor, points = (100, " points") if merit.score == ACCURACY.score else (1, "")
    better = 1 if merit.score or merit.mode == "max" else -1
    (score, score_error), sentences, lost = last.final(metric), list[str](), list[str]()
    for baseline in baselines:
        baseline_score, error = baseline.final(metric)
        if not np.isfinite([score, baseline_score]).all() or has_diverged(baseline):
            sentences.append(f"{baseline.name} diverged" if np.isfinite(score) else f"{baseline.name} did not diverge")
            continue
        difference, deviation = factor * (score - baseline_score), factor * float(np.hypot(score_error, error))
        spread = f"{points} (one seed)" if np.isnan(deviation) else f" ± {deviation:.2f}{points}"
        note = ", not significant" if abs(difference) <= 2 * deviation else ""
        sentences.append(f"{difference:+.2f}{spread} against {baseline.name}{note}")
        lost += [baseline.name] * int(better * difference < 0)
    warning = [f"Warning: {' and '.join(lost)} did better."] if lost else []
    name = f"Test {label_of(merit.score)}" if merit.score else metric
    return [*warning, f"{name} of the recipe: {'; '.join(sentences)}."] if sentences else []


def has_diverged(option: Option) -> bool:
    """Return whether a run of an option has diverged."""
    return any(run.summary["status"] == "diverged" for run in option.runs)


def _table(recipe: RecipeRuns) -> list[str]:
    score, budget = label_of(recipe.last.merit.score), recipe.search.budget.epochs
    scores = [f" validation {score} | test {score} |"] if score else [""]
    rows = [f"| | epochs | validation loss |{scores[0]}", "|---|---|---|" + "---|---|" * bool(score)]
    for option in (recipe.last, *recipe.baselines):
        epochs = budget if option is recipe.last else option.run_changes["trainer.max_epochs"]
        cells = [option.name, str(epochs), finite_text(*option.final("val/loss"))]
        cells += [_score(option, "val"), _score(option)] if score else []
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _accounts(recipe: RecipeRuns) -> str:
    """Return in a sentence what the numbers are means of, and how the budget was spent."""
    budget, seeds = recipe.search.budget, len(recipe.last.runs)
    tests = f"{budget.tests} range test{'s' * (budget.tests > 1)} of {budget.steps_of_test} steps"
    runs = f" and {budget.runs} short runs of {_plural(budget.epochs_of_run, 'epoch')}" if budget.runs else ""
    mean = f"Mean over {seeds} seeds ± standard error. " if seeds > 1 else "One seed. "
    return (
        f"{mean}{tests}, validation included,{runs} took {budget.epochs - budget.last_run} of {budget.epochs} epochs; "
        f"the last run has {budget.last_run}."
    )


def _comparisons(recipe: RecipeRuns) -> list[str]:
    """Return the lines of a table of short runs, for each setting that was compared."""
    lines = list[str]()
    for comparison in recipe.search.comparisons:
        monitor = comparison.chosen.merit.monitor
        rows = [f"| {option.name} | {finite_text(*option.result)} |" for option in comparison.options]
        lines += ["", f"| {comparison.what} | {monitor} of short runs |", "|---|---|", *rows]
    return lines


def finite_text(value: float, error: float) -> str:
    """Return a mean and its standard error as text; the word "diverged" for one that is not finite."""
    return plus_minus(value, error) if np.isfinite(value) else "diverged"


def _score(option: Option, stage: str = "test") -> str:
    value, error = option.final(option.merit.metric(stage))
    if not np.isfinite(value) or has_diverged(option):
        return "diverged"
    return score_text(option.merit.score, value, error)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
