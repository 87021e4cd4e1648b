"""The life of a study, which answers one question by many runs or nets: settings, directory, results, report."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd
import wandb
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console

from start_training.config.composed import check_depth
from start_training.config.mistakes import name_setting_in_errors
from start_training.figures.save import save_figure
from start_training.reports.run_report import relative
from start_training.reports.sweep_figure import mirror_figures
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.outcome import Interrupted
from start_training.settings import settings_from

S = TypeVar("S")


@dataclass(frozen=True)
class Results:
    """What a study computed, to be written into its directory.

    Args:
        summary: Plain data for summary.json.
        tables: By file name. W&B gets the .csv files; .parquet files are for larger tables, which stay local.
        figures: By name; each becomes figures/NAME.png and .pdf, and W&B gets it too.
        text: Markdown, which W&B shows as the run's notes.
    """

    summary: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Study(Generic[S]):
    """A command that samples many nets or trains many runs to answer one question.

    Args:
        settings: A checked dataclass of the config keys that are the study's own.
        run: Computes the results from the settings, the job, and the job's config before its interpolations were
            resolved. It writes what is expensive into `job.directory` as it goes, and reads it there when it is
            called again. It raises ValueError for a setting that cannot be used.
        report: Prints the finished study from the job and summary.json; returns the exit status if it is not 0.
        trains: Whether it trains runs, in runs/ of the job's directory.
    """

    settings: type[S]
    run: Callable[[S, Job, DictConfig], Results]
    report: Callable[[Job, Mapping[str, Any]], int | None]
    trains: bool = False

    def __call__(self, job: Job, config: DictConfig) -> int:
        """Carry out the job, print its report, and return the exit status."""
        if self.trains:
            check_depth(job.config)
        return self.report(job, self.carry_out(job, config)) or 0

    def carry_out(self, job: Job, config: DictConfig) -> dict[str, Any]:
        """Compute what the job's directory does not hold yet, and write config.yaml, the results and summary.json.

        summary.json is written last: a directory that has one is finished, and nothing is computed again.

        Args:
            job: Its directory may hold results of an earlier call with the same config.
            config: The job's config before its interpolations were resolved.

        Returns:
            The content of summary.json.

        Raises:
            ValueError: A setting cannot be used, or the directory holds something else.
            Interrupted: A signal was received; the same job goes on from the results in its directory.
        """
        run = RunDirectory(job.directory)
        run.claim(job.config)
        try:
            if not run.finished:
                with name_setting_in_errors(job.config):
                    self._compute(run, job, config)
            return run.summary() or {}
        except (KeyboardInterrupt, SystemExit) as error:
            raise Interrupted(signal.SIGINT) from error
        except ValueError as error:
            if not _holds_results(run.path):  # the directory is then free for a job with another config
                run.write_summary({"status": "failed", "reason": f"ValueError: {error}", "steps": 0})
            raise
        finally:
            if wandb.run is not None:
                wandb.finish()
            run.release()

    def _compute(self, run: RunDirectory, job: Job, config: DictConfig) -> None:
        if not run.holds_results:
            run.begin(job.config)
        began = time.monotonic()
        results = self.run(settings_from(self.settings, job.config), job, config)
        seconds = round(time.monotonic() - began, 3)  # of the last call, if there were several
        for name, table in results.tables.items():
            write = table.to_csv if name.endswith(".csv") else table.to_parquet
            write(run.path / name, index=False)
        images = {name: save_figure(figure, run.path / "figures" / name)[0] for name, figure in results.figures.items()}
        if images:
            shown = {Path(name).stem: table for name, table in results.tables.items() if name.endswith(".csv")}
            mirrored = replace(job, overrides=[*images], sweep=run.path.resolve().name) if self.trains else job
            mirror_figures(mirrored, images, shown, summary=results.summary, text=results.text)
        run.write_summary({"status": "completed", **results.summary, "seconds": seconds, **job.origin})


def print_lines(*lines: str) -> None:
    """Print lines of any length and content as they are, without wrapping, colours or markup."""
    for line in lines:
        Console().print(line, soft_wrap=True, highlight=False, markup=False)


def print_figures(directory: Path) -> None:
    """Print where the figures of a study lie."""
    print_lines(*(f"figure: {relative(file)}" for file in sorted((directory / "figures").glob("*.png"))))


def _holds_results(directory: Path) -> bool:
    """Whether a finished run, or rows of a table, would be lost with a directory."""
    runs = any(RunDirectory(path).finished for path in directory.glob("runs/*"))
    return runs or any(directory.glob("*/part-*.parquet"))
