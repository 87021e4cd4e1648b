"""Search for one hyper-parameter by short runs: compare options in a table and a figure, and choose one."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.table import Table
from scipy.stats import t as student

from start_training.config.build import build_partial
from start_training.config.build_task import merit_of
from start_training.config.errors import shell_command
from start_training.figures.trials import draw_trials
from start_training.reports.terminal import print_lines, print_table, print_whole
from start_training.runs.documents import read_csv
from start_training.runs.job import Job
from start_training.schedules.regularization import BATCH, DECAY, RATE, what_to_lower
from start_training.schedules.regularizers import Regularizers
from start_training.studies.study import Results, Study, print_figures
from start_training.studies.trials import Option, Seeds, Trials, as_override, curves_of, run_overrides, table_of
from start_training.tasks.merit import ACCURACY, Merit, label_of


@dataclass(frozen=True)
class Search:
    """The argument of a search function: the trainer of its runs, their seeds, and the config.

    Args:
        trials: Trains runs and makes range tests.
        seeds: Seeds of the runs.
        config: The plain config that the runs are based on.
    """

    trials: Trials
    seeds: Sequence[int]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class SearchFinding:
    """The result of a search for a hyper-parameter.

    Args:
        what: Name of the hyper-parameter.
        options: All options that were compared.
        chosen: The chosen option.
        text: Sentences that give the reasons for the choice.
    """

    what: str
    options: Sequence[Option]
    chosen: Option
    text: Sequence[str]


def run(settings: Seeds, job: Job, config: DictConfig) -> Results:
    """Call the search function configured in conf/search, and return its choice with tables and a figure."""
    work = build_partial(job.config["search"], "search")
    finding = work(Search(Trials(config, job.directory, job.choices), settings.all_seeds, job.config))
    options = table_of(finding.options)
    tests, runs = (curves_of(finding.options, kind) for kind in ("curves", "epochs"))
    title, shown = f"{finding.what}: {finding.chosen.name} is chosen", shown_metric(merit_of(job.config))
    summary = {
        "chosen": {"option": finding.chosen.name, "overrides": next_run(job, finding.chosen)},
        "text": [*finding.text, *balance(finding.chosen, job.config)],
    }
    return Results(
        summary,
        {"options.csv": options, "curves.parquet": tests, "epochs.parquet": runs},
        {"search": draw_trials(tests, runs, options, what=finding.what, title=title, score=shown)},
        "\n\n".join(finding.text),
    )


def next_run(job: Job, option: Option) -> list[str]:
    """Return the overrides with which the command train repeats an option's training on the job's model and data."""
    overrides = run_overrides(job)
    schedule = [] if any(word.startswith("schedule=") for word in overrides) else ["schedule=one_cycle"]
    changes = {**option.changes, **option.run_changes, **({"optimizer.lr": option.max_lr} if option.tests else {})}
    unchanged = [word for word in overrides if word.lstrip("+").partition("=")[0] not in changes]
    shown = [as_override(key, value) for key, value in changes.items() if not key.startswith("callbacks")]
    watched = changes.get("callbacks.recovery")
    recovery = [f"+callbacks.recovery._target_={watched['_target_']}"] if isinstance(watched, Mapping) else []
    return [*unchanged, *schedule, *shown, *recovery]


def usable(options: Sequence[Option]) -> list[Option]:
    """Return the options, the candidates of a search, whose learning rate range tests suggest a rate.

    Raises:
        ValueError: No option has a suggested learning rate; the message gives the reason for the first option.
    """
    suggesting = [option for option in options if np.isfinite(option.max_lr)]
    if not suggesting:
        rule = options[0].tests[0].suggestion["rule"]
        raise ValueError(f"range_tests: no range test suggests a learning rate; that of {options[0].name}: {rule}")
    return suggesting


def best_option(options: Sequence[Option]) -> Option:
    """Return the option with the best final `merit.monitor` of its full runs, mean over seeds: the validation loss."""
    trained = [option for option in options if option.runs]
    return (min if trained[0].merit.mode == "min" else max)(trained, key=lambda option: option.result[0])


def comparison(what: str, chosen: Option, options: Sequence[Option]) -> str:
    """Return a sentence that compares the validation loss, or `merit.monitor`, of an option with the best other option.

    The sentence says whether the difference is significant by Student's t test at 5%, if there are several seeds.

    Args:
        what: Name of the hyper-parameter.
        chosen: The option to compare.
        options: All options; options without full runs are ignored.
    """
    name = "validation loss" if chosen.merit.monitor == ACCURACY.monitor else chosen.merit.monitor
    text = f"{what} {chosen.name}: {name} {_loss(chosen)}"
    others = [option for option in options if option is not chosen and option.runs]
    if not others:
        return f"{text}."
    second = best_option(others)
    text += f", against {_loss(second)} with {second.name}"
    (loss, error), (second_loss, second_error) = chosen.result, second.result
    if len(chosen.runs) == 1:
        return f"{text} (one seed each)."
    if not np.isfinite([loss, second_loss]).all():
        return f"{text}, which diverged."
    sigmas, count = abs(second_loss - loss) / np.hypot(error, second_error), len(chosen.runs)
    verdict = "" if sigmas > student.ppf(0.975, 2 * (count - 1)) else "not "
    return f"{text}: the difference is {verdict}significant ({sigmas:.1f} standard errors, {count} seeds)."


def balance(option: Option, config: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each form of regularization that an option raises above the config.

    Each sentence says which other forms of regularization to lower in exchange.
    """
    before = Regularizers.of(config)
    decay, batch = before.weight_decay or 0.0, before.batch_size or 0
    raised = {
        RATE: option.max_lr > (before.learning_rate or 0.0),
        DECAY: option.changes.get("optimizer.weight_decay", decay) > decay,
        BATCH: option.changes.get("datamodule.batch_size", batch) < batch,
    }
    return [f"Raised: {what_to_lower(name, before)}." for name, is_raised in raised.items() if is_raised]


def plus_minus(value: float, error: float) -> str:
    """Format a mean and its standard error as "mean ± error"; a NaN error, as for one seed, is left out."""
    return f"{value:.4g}" if np.isnan(error) else f"{value:.4g} ± {error:.2g}"


def score_text(score: str, mean: float, error: float) -> str:
    """Format the mean of a score and its standard error: an accuracy in percent, other scores as numbers."""
    if score != ACCURACY.score:
        return plus_minus(mean, error)
    return f"{mean:.2%}" if np.isnan(error) else f"{100 * mean:.2f} ± {error:.2%}"


def shown_metric(merit: Merit) -> str:
    """Return the validation metric that figures of trials show beside the loss: the score, or else `merit.monitor`."""
    return merit.metric("val") if merit.score else merit.monitor


def _loss(option: Option) -> str:
    return plus_minus(*option.result)


def report(job: Job, summary: Mapping[str, Any]) -> None:
    """Print the table of options, the reasons for the choice, and which command to run next."""
    options = read_csv(job.directory / "options.csv", ["option"], dtype={"option": str})
    print_table(options_table(options, summary["chosen"]["option"], merit_of(job.config)))
    print_lines(*summary["text"])
    print_whole(f"next: {shell_command('train')} {shlex.join(summary['chosen']['overrides'])}")
    print_figures(job.directory)


def options_table(options: pd.DataFrame, chosen: str, merit: Merit = ACCURACY) -> Table:
    """Format options.csv as a table to print, with the chosen option in bold.

    Args:
        options: The content of options.csv.
        chosen: Name of the chosen option.
        merit: Names the columns of the metric by which options are compared, and of the score.
    """
    score = label_of(merit.score)
    scores = [f"val {score}", f"test {score}"] if score else []
    title = "Range tests and full runs, mean over seeds ± standard error"
    table = Table("option", title=title, title_justify="left")
    for heading in ("largest rate", "lowest loss", "epochs", merit.monitor.replace("/", " "), *scores):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for _, row in options.iterrows():
        table.add_row(*_cells(row, merit), style="bold" if row["option"] == chosen else "")
    return table


def _cells(row: pd.Series, merit: Merit) -> list[str]:
    rate = f"{row['max_lr']:.2g}\n({row['max_lr_low']:.2g}–{row['max_lr_high']:.2g})"
    cells = [str(row["option"]), rate, f"{row['range_test_val_loss']:.4g}"]
    if pd.isna(row["epochs"]):
        return [*cells, "", "", *(["", ""] if merit.score else [])]
    loss = f"{row[merit.monitor]:.3g}\n± {row[f'{merit.monitor} s.e.']:.1g}"
    names = [merit.metric(stage) for stage in ("val", "test")] if merit.score else []
    scores = [score_text(merit.score, row[name], row[f"{name} s.e."]).replace(" ±", "\n±") for name in names]
    epochs = f"{row['epochs']:g}" + (f"\n({row['seconds']:.2g} s)" if "seconds" in row else "")
    return [*cells, epochs, loss, *scores]


SEARCH = Study(Seeds, run, report, trains=True)
