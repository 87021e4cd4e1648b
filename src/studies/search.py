"""Search for one hyper-parameter by short runs: a table of alternatives, a figure and a choice."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from start_training.config.build import build_partial
from start_training.config.errors import shell_command
from start_training.figures.trials import draw_trials
from start_training.runs.job import Job
from start_training.schedules.regularization import BATCH, DECAY, RATE, Regularizers, what_to_lower
from start_training.studies.study import Results, Study, print_figures, print_lines
from start_training.studies.trials import Option, Seeds, Trials, curves_of, named, run_overrides, table_of

WIDTH = 110  # of the table where no terminal states its width; rich's default is 80
NEAR = 0.02  # relative difference of losses that short runs cannot tell apart


@dataclass(frozen=True)
class Search:
    """The argument of a function that searches: what makes its runs, their seeds, and the config they are based on."""

    trials: Trials
    seeds: Sequence[int]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """The result of a search.

    Args:
        what: The name of the hyper-parameter.
        options: All alternatives.
        chosen: One of them.
        text: Why, in sentences.
    """

    what: str
    options: Sequence[Option]
    chosen: Option
    text: Sequence[str]


def run(settings: Seeds, job: Job, config: DictConfig) -> Results:
    """Make the range tests and runs of `search`, a function of conf/search, and choose one of its options."""
    work = build_partial(job.config["search"], "search")
    finding = work(Search(Trials(config, job.directory), settings.all_seeds, job.config))
    options = table_of(finding.options)
    tests, runs = (curves_of(finding.options, kind) for kind in ("curves", "epochs"))
    title = f"{finding.what}: {finding.chosen.name} is chosen"
    summary = {
        "chosen": {"option": finding.chosen.name, "overrides": next_run(job, finding.chosen)},
        "text": [*finding.text, *balance(finding.chosen, job.config)],
    }
    return Results(
        summary,
        {"options.csv": options, "curves.parquet": tests, "epochs.parquet": runs},
        {"search": draw_trials(tests, runs, options, what=finding.what, title=title)},
        "\n\n".join(finding.text),
    )


def next_run(job: Job, option: Option) -> list[str]:
    """The overrides with which the command train trains as the option was trained, on the job's own model and data."""
    asked = run_overrides(job)
    schedule = [] if any(word.startswith("schedule=") for word in asked) else ["schedule=one_cycle"]
    changes = {**option.changes, **option.of_runs, "optimizer.lr": option.max_lr}
    kept = [word for word in asked if word.lstrip("+").partition("=")[0] not in changes]
    return [*kept, *schedule, *(named(key, value) for key, value in changes.items() if key != "callbacks")]


def usable(options: Sequence[Option]) -> list[Option]:
    """The options whose range tests suggest a rate. Raises ValueError with the reason if there is none."""
    suggesting = [option for option in options if np.isfinite(option.max_lr)]
    if not suggesting:
        raise ValueError(f"{options[0].name}: {options[0].tests[0].suggestion['rule']}")
    return suggesting


def best_option(options: Sequence[Option]) -> Option:
    """The option with the lowest validation loss at the end of its runs, mean over seeds."""
    return min((option for option in options if option.runs), key=lambda option: option.final("val/loss")[0])


def best_test(options: Sequence[Option]) -> Option:
    """The option with the largest rate of those whose range tests have the lowest validation loss, within `NEAR`.

    Of options with the same rate it is the last one.
    Source: Smith 2018 (arXiv:1803.09820): what allows the largest rate and the lowest validation loss.
    """
    lowest = min(option.lowest_loss for option in options)
    near = [option for option in options if option.lowest_loss <= lowest * (1 + NEAR)]
    return max(reversed(near), key=lambda option: np.nan_to_num(option.max_lr))


def in_words(what: str, chosen: Option, options: Sequence[Option]) -> str:
    """A sentence that compares an option's validation loss with the lowest of the others.

    Two losses are told apart where Student's t test at 5% does, which needs several seeds.

    Args:
        what: The name of the hyper-parameter.
        chosen: The option.
        options: All options; those without runs are ignored.
    """
    text = f"{what} {chosen.name}: validation loss {_loss(chosen)}"
    others = [option for option in options if option is not chosen and option.runs]
    if not others:
        return f"{text}."
    second = best_option(others)
    text += f", against {_loss(second)} of {second.name}"
    (loss, error), (its_loss, its_error) = chosen.final("val/loss"), second.final("val/loss")
    if len(chosen.runs) == 1:
        return f"{text}, a seed each."
    if not np.isfinite([loss, its_loss]).all():
        return f"{text}, which diverged."
    sigmas, count = abs(its_loss - loss) / np.hypot(error, its_error), len(chosen.runs)
    apart = "" if sigmas > student.ppf(0.975, 2 * (count - 1)) else "not "
    return f"{text}: {apart}told apart ({sigmas:.1f} standard errors, {count} seeds)."


def balance(option: Option, config: Mapping[str, Any]) -> list[str]:
    """For each regularizer that an option raises above the config, a sentence on which other ones to lower."""
    before = Regularizers.of(config)
    decay, batch = before.weight_decay or 0.0, before.batch_size or 0
    raised = {
        RATE: option.max_lr > (before.learning_rate or 0.0),
        DECAY: option.changes.get("optimizer.weight_decay", decay) > decay,
        BATCH: option.changes.get("datamodule.batch_size", batch) < batch,
    }
    return [f"Raised: {what_to_lower(name, before)}." for name, is_raised in raised.items() if is_raised]


def plus_minus(value: float, error: float) -> str:
    """Mean ± standard error; the mean without an error that is NaN, as that of one seed."""
    return f"{value:.4g}" if np.isnan(error) else f"{value:.4g} ± {error:.2g}"


def _loss(option: Option) -> str:
    return plus_minus(*option.final("val/loss"))


def report(job: Job, summary: Mapping[str, Any]) -> None:
    """Print the table of options, the reasons for the choice, and which command to run next."""
    options = pd.read_csv(job.directory / "options.csv", dtype={"option": str})
    Console(width=max(Console().width, WIDTH)).print(options_table(options, summary["chosen"]["option"]))
    print_lines(*summary["text"], f"next: {shell_command('train')} {shlex.join(summary['chosen']['overrides'])}")
    print_figures(job.directory)


def options_table(options: pd.DataFrame, chosen: str) -> Table:
    """A row for each row of options.csv, that of the chosen option in bold."""
    table = Table(title="Range tests and full runs, mean over seeds ± s.e.", title_justify="left")
    table.add_column("option")
    for heading in ("largest rate", "lowest loss", "epochs", "val loss", "val accuracy", "test accuracy"):
        table.add_column(heading, justify="right")
    for _, row in options.iterrows():
        table.add_row(*_cells(row), style="bold" if row["option"] == chosen else "")
    return table


def _cells(row: pd.Series) -> list[str]:
    rate = f"{row['max_lr']:.2g} ({row['max_lr_low']:.2g}–{row['max_lr_high']:.2g})"
    cells = [str(row["option"]), rate, f"{row['range_test_val_loss']:.4g}"]
    if pd.isna(row["epochs"]):
        return [*cells, "", "", "", ""]
    loss = f"{row['val/loss']:.3g} ± {row['val/loss s.e.']:.1g}"
    accuracies = (f"{100 * row[name]:.2f} ± {row[f'{name} s.e.']:.2%}" for name in ("val/accuracy", "test/accuracy"))
    epochs = f"{row['epochs']:g}" + (f" ({row['seconds']:.2g} s)" if "seconds" in row else "")
    return [*cells, epochs, loss, *accuracies]


SEARCH = Study(Seeds, run, report, trains=True)
