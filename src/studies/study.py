"""The steps common to all studies: read the settings, compute results, write them to the directory, print a report."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd
import wandb
from matplotlib.figure import Figure
from omegaconf import DictConfig

from start_training.config.loggers import wandb_nodes
from start_training.config.mistakes import name_setting_in_errors
from start_training.config.top_level import check_unused
from start_training.config.wandb_server import asked_once
from start_training.figures.save import save_figure
from start_training.files.damaged_file import named_if_damaged, set_aside
from start_training.reports.run_report import relative
from start_training.reports.sweep_figure import mirror_figures
from start_training.reports.terminal import print_lines
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.table import write_table
from start_training.settings import settings_from

S = TypeVar("S")


@dataclass(frozen=True)
class Results:
    """The results of a study, which are written to its directory.

    Args:
        summary: Plain data for summary.json.
        tables: Tables by file name. The .csv files are also logged to W&B; .parquet files are for larger tables, which
            stay local.
        figures: Figures by name; each is saved as figures/NAME.png and .pdf, and logged to W&B.
        text: Markdown text, shown by W&B as the notes of the run.
    """

    summary: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Study(Generic[S]):
    """A command that samples many nets or trains many runs to answer one question.

    Args:
        settings: Dataclass of the study's settings, decorated with `checked`; its fields are top-level config keys.
        run: Function that computes the results from the settings, the job, and the job's config before its
            interpolations are resolved. It writes expensive intermediate results to `job.directory` and reuses them
            when it is called again. It raises ValueError for a setting that cannot be used.
        report: Function that prints the report of the finished study from the job and the content of summary.json.
            It returns the exit status, where None means 0.
        trains: Whether the study trains runs, in the folder runs/ of the job's directory.
    """

    settings: type[S]
    run: Callable[[S, Job, DictConfig], Results]
    report: Callable[[Job, Mapping[str, Any]], int | None]
    trains: bool = False

    def __call__(self, job: Job, config: DictConfig) -> int:
        """Carry out a job, print its report, and return the exit status; `carry_out` explains the arguments."""
        check_unused(self.settings, job.config, job.overrides)
        stored = RunDirectory(job.directory).finished
        summary = self.carry_out(job, config)
        # A report reads only what the study has written: if it fails on stored results, these are damaged.
        with named_if_damaged(RunDirectory(job.directory).summary_file) if stored else nullcontext():
            return self.report(job, summary) or 0

    def carry_out(self, job: Job, config: DictConfig) -> dict[str, Any]:
        """Compute the results of a job, and write config.yaml, the results and summary.json to its directory.

        summary.json is written last: if the directory has one, the job is finished and nothing is computed again.

        Args:
            job: The job. Its directory may hold partial results of an earlier call with the same config.
            config: The job's config before its interpolations are resolved.

        Returns:
            The content of summary.json.

        Raises:
            ValueError: A setting cannot be used, or the directory holds results of another config.
            Interrupted: A signal was received. Carrying out the same job again continues from the partial results.
        """
        run = RunDirectory(job.directory)
        run.claim(job.config)
        try:
            if not run.finished:
                # Each training of a study would ask W&B's server again.
                with name_setting_in_errors(job.config), asked_once(wandb_nodes(job.config)):
                    self._compute(run, job, config)
            return run.summary() or {}
        except ValueError as error:
            if not _holds_results(run.path):  # a failed run's directory may be reused by a job with another config
                run.write_summary({"status": "failed", "reason": f"ValueError: {error}", "steps": 0})
            raise
        finally:
            if wandb.run is not None:
                wandb.finish()
            run.release()

    def _compute(self, run: RunDirectory, job: Job, config: DictConfig) -> None:
        if not run.holds_results:
            run.begin(job.config)
        elif run.damaged:
            set_aside(run.summary_file, run.path)
        began = time.monotonic()
        results = self.run(settings_from(self.settings, job.config), job, config)
        seconds = round(time.monotonic() - began, 3)  # if the study was interrupted, the time of the last call alone
        for name, table in results.tables.items():
            write_table(table, run.path / name)
        images = {name: save_figure(figure, run.path / "figures" / name)[0] for name, figure in results.figures.items()}
        if images:
            shown = {Path(name).stem: table for name, table in results.tables.items() if name.endswith(".csv")}
            mirrored = replace(job, overrides=[*images], sweep=run.path.resolve().name) if self.trains else job
            mirror_figures(mirrored, images, shown, summary=results.summary, text=results.text)
        run.write_summary({"status": "completed", **results.summary, "seconds": seconds, **job.origin})


def print_figures(directory: Path) -> None:
    """Print the paths of the figures in a study's directory."""
    print_lines(*(f"figure: {relative(file)}" for file in sorted((directory / "figures").glob("*.png"))))


def _holds_results(directory: Path) -> bool:
    """Return whether a study's directory contains results worth keeping: a finished run or rows of a table."""
    runs = any(RunDirectory(path).finished for path in directory.glob("runs/*"))
    return runs or any(directory.glob("*/part-*.parquet"))
