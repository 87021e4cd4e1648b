"""Searches as Hydra jobs: what each shows on the terminal."""

import shlex

import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from start_training.cli.hydra_job import run_hydra_job
from start_training.config.composed import check_depth
from start_training.config.errors import typed
from start_training.reports import run_report
from start_training.runs.job import Job
from start_training.studies.search import search

WIDTH = 110  # where no terminal says how wide it is, rich takes 80


def search_hydra_job(config: DictConfig) -> None:
    """Make the search that Hydra has composed, and show its table, its choice, and what to run next."""

    def work(job: Job) -> None:
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

    run_hydra_job(config, work, after_interrupt="the same command goes on")


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
