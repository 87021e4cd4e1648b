"""A recipe that was followed, and its short report: what was tried, what was chosen, and how it compares."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from start_training.config.errors import typed
from start_training.reports.run_clues import sentence
from start_training.schedules.budget import Budget
from start_training.studies.search import plus_minus
from start_training.studies.trials import Option

ENOUGH = 100  # steps of a range test: with fewer, what a large rate destroys may not show yet


@dataclass(frozen=True)
class Followed:
    """What was tried, the last run that came of it, and the baselines beside it."""

    budget: Budget
    decays: Sequence[Option]
    momenta: Sequence[Option]
    last: Option
    baselines: Sequence[Option]

    def report(self, overrides: Sequence[str], balance: Sequence[str]) -> str:
        """In Markdown; `overrides` train the last run again, `balance` says what is to give way for what was raised."""
        budget, suggestion = self.budget, self.last.tests[0].suggestion
        tests = [f"| {each.name} | {each.max_lr:.3g} | {each.lowest_loss:.4g} |" for each in self.decays]
        tried = [each for each in self.momenta if each.runs]
        runs = [f"| {each.name} | {each.max_lr:.2g} | {each.final('val/loss')[0]:.4g} |" for each in tried]
        few = f" Range tests of fewer than {ENOUGH} steps may allow too much." if budget.steps_of_test < ENOUGH else ""
        seeds = f"{len(self.last.runs)} seed{'s' * (len(self.last.runs) > 1)}"
        short = f"{budget.epochs_of_run} epoch{'s' * (budget.epochs_of_run > 1)}"
        results = [_row(option, budget.epochs) for option in (self.last, *self.baselines)]
        lines = [
            f"# The recipe, with {budget.epochs} epochs in all",
            "",
            f"Test accuracy {_percent(self.last.final('test/accuracy'))}, {seeds}.",
            "",
            *_verdicts(self.last, self.baselines),
            "",
            "| | epochs | validation loss | validation accuracy | test accuracy |",
            "|---|---|---|---|---|",
            *results,
            "",
            f"Mean over {seeds} ± standard error. The recipe's last run has {budget.last_run} "
            f"epochs; {budget.tests} range tests of {budget.steps_of_test} steps and {budget.runs} runs of "
            f"{short} took the others.{few}",
            "",
            f"Rate {self.last.max_lr:.2g}: {suggestion['rule']}.",
            *_clues(self.last),
            *(line for sentence in balance for line in ("", sentence)),
            "",
            "| range test of | largest rate | lowest validation loss |",
            "|---|---|---|",
            *tests,
            "",
            f"| momentum, {short} | rate | validation loss |",
            "|---|---|---|",
            *runs,
            "",
            f"Again: `{typed('train')} {shlex.join(overrides)}`",
        ]
        return "\n".join(lines) + "\n"


def _row(option: Option, budget: int) -> str:
    loss, accuracy, test = (option.final(name) for name in ("val/loss", "val/accuracy", "test/accuracy"))
    epochs = budget if option.tests else option.runs[0].summary["epochs"]
    return f"| {option.name} | {epochs} | {plus_minus(*loss)} | {_percent(accuracy)} | {_percent(test)} |"


def _percent(value: tuple[float, float]) -> str:
    mean, error = (100 * number for number in value)
    return f"{mean:.2f}%" if np.isnan(error) else f"{mean:.2f} ± {error:.2f}%"


def _verdicts(last: Option, baselines: Sequence[Option]) -> list[str]:
    """A sentence for each baseline, by test accuracy, by which nothing was chosen."""
    ours, our_error = last.final("test/accuracy")
    sentences = []
    for baseline in baselines:
        theirs, error = baseline.final("test/accuracy")
        difference, deviation = 100 * (ours - theirs), 100 * float(np.hypot(our_error, error))
        told = " (within two standard errors of none)" if abs(difference) <= 2 * deviation else ""
        spread = " points (one seed)" if np.isnan(deviation) else f" ± {deviation:.2f} points{told}"
        sentences.append(f"- against {baseline.name}: {difference:+.2f}{spread}")
    return sentences


def _clues(last: Option) -> list[str]:
    clues = last.runs[0].summary["clues"]
    return ["", f"Clues of the last run, seed {last.runs[0].summary['seed']}: {sentence(clues)}"]
