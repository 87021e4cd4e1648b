"""A recipe that was followed, and its short report: what was tried, what was chosen, and how it compares."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from src.jobs.clues import sentence
from src.jobs.trials import Option
from src.schedules.budget import Budget


@dataclass(frozen=True)
class Followed:
    """What was tried, the last run that came of it, and the baselines beside it."""

    budget: Budget
    decays: Sequence[Option]
    momenta: Sequence[Option]
    last: Option
    baselines: Sequence[Option]

    def report(self, overrides: Sequence[str]) -> str:
        """In Markdown; `overrides` train the last run again."""
        budget, suggestion = self.budget, self.last.tests[0].suggestion
        tests = [f"| {each.name} | {each.max_lr:.3g} | {each.lowest_loss:.4g} |" for each in self.decays]
        runs = [f"| {each.name} | {each.max_lr:.3g} | {each.final('val/loss')[0]:.4g} |" for each in self.momenta]
        results = [_row(option, budget.epochs) for option in (self.last, *self.baselines)]
        lines = [
            f"# The recipe, with {budget.epochs} epochs in all",
            "",
            f"Test accuracy {_percent(self.last.final('test/accuracy'))}, {len(self.last.runs)} seeds.",
            "",
            *_verdicts(self.last, self.baselines),
            "",
            "| | epochs | validation loss | validation accuracy | test accuracy |",
            "|---|---|---|---|---|",
            *results,
            "",
            f"Mean over {len(self.last.runs)} seeds ± standard error. The recipe's last run has {budget.last_run} "
            f"epochs; {budget.tests} range tests of {budget.steps_of_test} steps and {budget.runs} runs of "
            f"{budget.epochs_of_run} epochs took the others.",
            "",
            f"Largest rate {self.last.max_lr:.3g}: {suggestion['rule']}.",
            *_clues(self.last),
            "",
            "| range test of | largest rate | lowest validation loss |",
            "|---|---|---|",
            *tests,
            "",
            f"| momentum, {budget.epochs_of_run} epochs | largest rate | validation loss |",
            "|---|---|---|",
            *runs,
            "",
            f"Again: `python scripts/train.py {shlex.join(overrides)}`",
        ]
        return "\n".join(lines) + "\n"


def _row(option: Option, budget: int) -> str:
    loss, accuracy, test = (option.final(name) for name in ("val/loss", "val/accuracy", "test/accuracy"))
    epochs = budget if option.tests else option.runs[0].summary["epochs"]
    return f"| {option.name} | {epochs} | {loss[0]:.4g} ± {loss[1]:.2g} | {_percent(accuracy)} | {_percent(test)} |"


def _percent(value: tuple[float, float]) -> str:
    return f"{100 * value[0]:.2f} ± {100 * value[1]:.2f}%"


def _verdicts(last: Option, baselines: Sequence[Option]) -> list[str]:
    """A sentence for each baseline, by test accuracy, by which nothing was chosen."""
    ours, our_error = last.final("test/accuracy")
    sentences = []
    for baseline in baselines:
        theirs, error = baseline.final("test/accuracy")
        difference, deviation = 100 * (ours - theirs), 100 * float(np.hypot(our_error, error))
        told = "" if abs(difference) > 2 * deviation else " (within two standard errors of none)"
        if np.isnan(deviation):
            told = " (one seed)"
        sentences.append(f"- against {baseline.name}: {difference:+.2f} ± {deviation:.2f} points{told}")
    return sentences


def _clues(last: Option) -> list[str]:
    clues = last.runs[0].summary["clues"]
    return ["", f"Clues of the last run, seed {last.runs[0].summary['seed']}: {sentence(clues)}"]
