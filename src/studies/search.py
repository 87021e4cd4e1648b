"""Search for one hyper-parameter by short runs: from a job to a table, a figure and a choice in its directory."""

import shlex
import time
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
from start_training.config.composed import check_depth
from start_training.config.errors import typed
from start_training.figures.save import save_figure
from start_training.figures.trials import draw_trials
from start_training.reports import run_report
from start_training.reports.sweep_figure import mirror_figure
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.schedules.regularization import BATCH, DECAY, RATE, Regularizers, what_to_lower
from start_training.settings import positive_integer, seed
from start_training.studies.study import study
from start_training.studies.trials import OF_A_RUN, Option, Trials, curves_of, named, table_of

WIDTH = 110  # where no terminal says how wide it is, rich takes 80
NEAR = 0.02  # of a loss


@dataclass(frozen=True)
class Search:
    """What a search works with: its runs, their seeds, and the config that they are variations of."""

    trials: Trials
    seeds: Sequence[int]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a search found: its options, the one chosen, and why, in sentences."""

    what: str
    options: Sequence[Option]
    chosen: Option
    text: Sequence[str]


def search(job: Job, config: DictConfig) -> dict[str, Any]:
    """Make the search of a job, as far as an earlier call has not, and leave what it found; returns the summary.

    `config` is the job's before its interpolations were resolved, as runs differ in what is interpolated.
    Directory: runs/ (a run directory each), options.csv, curves.parquet, epochs.parquet, figures/search.png and .pdf,
    config.yaml and summary.json, written last. A signal leaves what has been trained, to go on from.
    Raises ValueError for a setting that cannot be used, or a directory that holds something else.
    """
    with study(job) as run:
        if run.finished:
            return run.summary() or {}
        began = time.monotonic()
        work = build_partial(job.config["search"], "search")
        trials, seeds = Trials(config, run.path), seeds_of(job.config)
        finding = work(Search(trials, seeds, job.config))
        leave(job, run, finding)
        summary = {
            "status": "completed",
            "chosen": {"option": finding.chosen.name, "overrides": next_run(job, finding.chosen)},
            "text": [*finding.text, *balance(finding.chosen, job.config)],
            "seconds": round(time.monotonic() - began, 3),  # of the last session
            **job.origin,
        }
        run.write_summary(summary)
    return summary


def seeds_of(config: Mapping[str, Any]) -> range:
    """`seeds` of them, from `seed` on. Raises ValueError for one that is none."""
    first, count = seed("seed", config["seed"]), positive_integer("seeds", config["seeds"])
    return range(first, first + count)


def next_run(job: Job, option: Option) -> list[str]:
    """The overrides with which scripts/train.py trains as the option was trained, on the job's own model and data."""
    of_the_job = [each for each in job.overrides if each.lstrip("+~").split("=")[0].split(".")[0] in OF_A_RUN]
    schedule = [] if any(each.startswith("schedule=") for each in of_the_job) else ["schedule=one_cycle"]
    changes = {**option.changes, **option.of_runs, "optimizer.lr": option.max_lr}
    kept = [each for each in of_the_job if each.lstrip("+").partition("=")[0] not in changes]
    return [*kept, *schedule, *(named(key, value) for key, value in changes.items() if key != "callbacks")]


def leave(job: Job, run: RunDirectory, finding: Finding) -> None:
    """Tables and figure; W&B gets the figure and the table of options."""
    options = table_of(finding.options)
    tests, runs = (curves_of(finding.options, kind) for kind in ("curves", "epochs"))
    options.to_csv(run.path / "options.csv", index=False)
    tests.to_parquet(run.path / "curves.parquet", index=False)
    runs.to_parquet(run.path / "epochs.parquet", index=False)
    title = f"{finding.what}: {finding.chosen.name} is chosen"
    figure = draw_trials(tests, runs, options, what=finding.what, title=title)
    files = save_figure(figure, run.path / "figures" / "search")
    mirror_figure(job.config, run.path, "search", files[0], {"options": options}, text="\n\n".join(finding.text))


def usable(options: Sequence[Option]) -> list[Option]:
    """Those whose range tests say a rate. Raises ValueError, saying what they say instead, where none does."""
    found = [option for option in options if np.isfinite(option.max_lr)]
    if not found:
        raise ValueError(f"{options[0].name}: {options[0].tests[0].suggestion['rule']}")
    return found


def best_option(options: Sequence[Option]) -> Option:
    """That of the lowest validation loss at the end of its runs, mean over seeds."""
    return min((option for option in options if option.runs), key=lambda option: option.final("val/loss")[0])


def best_test(options: Sequence[Option]) -> Option:
    """That whose range tests have the lowest validation loss; of those nearly as low that of the largest rate.

    Nearly: within `NEAR` of it, since short runs cannot tell these apart. Of equal rates the last option.
    Source: Smith 2018 (arXiv:1803.09820): what allows the largest rate and the lowest validation loss.
    """
    lowest = min(option.lowest_loss for option in options)
    near = [option for option in options if option.lowest_loss <= lowest * (1 + NEAR)]
    return max(reversed(near), key=lambda option: np.nan_to_num(option.max_lr))


def in_words(what: str, chosen: Option, options: Sequence[Option]) -> str:
    """How an option's validation loss compares with the best of the others, in standard errors of the difference."""
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
    """What is to give way, for each regularizer that an option raises above the config: a sentence."""
    before = Regularizers.of(config)
    decay, batch = before.weight_decay or 0.0, before.batch_size or 0
    raised = {
        RATE: option.max_lr > (before.learning_rate or 0.0),
        DECAY: option.changes.get("optimizer.weight_decay", decay) > decay,
        BATCH: option.changes.get("datamodule.batch_size", batch) < batch,
    }
    return [f"Raised: {what_to_lower(name, before)}." for name, is_raised in raised.items() if is_raised]


def plus_minus(value: float, error: float) -> str:
    """Mean ± standard error; the mean alone where one seed has none."""
    return f"{value:.4g}" if np.isnan(error) else f"{value:.4g} ± {error:.2g}"


def _loss(option: Option) -> str:
    return plus_minus(*option.final("val/loss"))


def search_job(job: Job, config: DictConfig) -> None:
    """Make the job's search, and show its table, its choice, and what to run next."""
    check_depth(job.config)
    summary = search(job, config)
    console = Console(width=max(Console().width, WIDTH))
    options = pd.read_csv(job.directory / "options.csv", dtype={"option": str})
    console.print(options_table(options, summary["chosen"]["option"]))
    for sentence in summary["text"]:
        console.print(sentence, soft_wrap=True, highlight=False)
    command = shlex.join(summary["chosen"]["overrides"])
    console.print(f"next: {typed('train')} {command}", soft_wrap=True, highlight=False)
    console.print(f"figure: {run_report.relative(job.directory / 'figures' / 'search.png')}", soft_wrap=True)


def options_table(options: pd.DataFrame, chosen: str) -> Table:
    """A row for each option: what its range tests say, and how its runs ended; the chosen one in bold."""
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
