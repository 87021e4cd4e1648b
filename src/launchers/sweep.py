"""Resumable multiruns: finished jobs are skipped, interrupted jobs resume, and failed jobs start again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from start_training.config.composed import check_script, compose_job, config_hash_of, plain, without_hydra
from start_training.config.errors import ReportedError, error_message, print_error
from start_training.launchers.process_tree import check_launcher
from start_training.launchers.workers import NotStarted, launch
from start_training.reports import run_report
from start_training.reports.sweep_figure import draw_sweep
from start_training.runs.damaged_file import DamagedFile
from start_training.runs.directory import DAMAGED, FINISHED, RunDirectory
from start_training.runs.job import run_title
from start_training.runs.sweep_jobs import add_jobs
from start_training.training.train import check_settings

Overrides = Sequence[str]
SHOWN = 10  # number of failed jobs that are listed
STATES = {  # state of a run: colour of its row in the table
    "completed": "",
    "diverged": "",
    "failed": "red",
    DAMAGED: "red",
    "interrupted": "yellow",
    "killed": "yellow",
    "running": "yellow",
    "absent": "yellow",
}
ALWAYS = ("completed", "diverged", "failed")  # states that have a row even without jobs


@dataclass
class Sweep:
    """The jobs of a multirun. `run` launches the unfinished jobs and prints how all jobs ended.

    Args:
        config: the config of the multirun.
        launcher: a Hydra launcher, set up with this config.
        config_loader: Hydra's config loader.
        jobs: the jobs by their overrides, filled by `run`.
        errors: the exceptions of failed jobs by their overrides, filled by `run`.
    """

    config: DictConfig
    launcher: Any
    config_loader: Any
    jobs: dict[tuple[str, ...], str] = field(default_factory=dict)  # run directories by overrides
    errors: dict[tuple[str, ...], BaseException] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return Path(str(self.config.hydra.sweep.dir))

    def run(self, batches: Sequence[Sequence[Overrides]]) -> list[Sequence[JobReturn]]:
        """Launch the unfinished jobs, print a report and draw the figure of the experiment.

        Args:
            batches: batches of jobs, a job being its list of overrides; one launch per batch.
        Returns:
            The results of the launched jobs, batch by batch.
        Raises:
            ReportedError: a job has failed; raised after all other jobs have run.
            ValueError: two different jobs have the same directory.
        """
        self._plan([overrides for batch in batches for overrides in batch])
        before = dict(zip(self.jobs, self._states(), strict=True))
        self._announce(Counter(before.values()))
        returns: list[Sequence[JobReturn]] = []
        first, begun = 0, True
        try:
            for batch in batches:
                unfinished = [job for job in batch if before.get(tuple(job)) not in (None, *FINISHED)]
                returns.append(launch(self.launcher, self.config, unfinished, first) if unfinished else [])
                pairs = zip(unfinished, returns[-1], strict=True)
                self.errors |= {tuple(job): end._return_value for job, end in pairs if end.status == JobStatus.FAILED}
                first += len(batch)
        except NotStarted:
            begun = bool(returns)
            raise
        finally:
            failed = self._report() if begun else 0
        if failed < len(self.jobs):
            self._draw()
        if failed:
            raise ReportedError
        return returns

    def _plan(self, combinations: Sequence[Overrides]) -> None:
        """Fill `jobs`, without duplicates, and add them to the sweep's list of jobs on disk.

        Raises ValueError if two different jobs have the same directory.
        """
        first_in: dict[str, int] = {}
        for number, overrides in enumerate(combinations):
            directory = self._checked_directory(overrides, number)
            first = first_in.setdefault(directory, number)
            if first == number:
                self.jobs[tuple(overrides)] = directory
            elif self._hash(combinations[first], first) != self._hash(overrides, number):
                raise ValueError(
                    f"hydra.sweep.subdir = {directory}: must differ between jobs, but is the same for "
                    f"{_title(combinations[first])} and {_title(overrides)}"
                )
        unfinished = [words for words, directory in self.jobs.items() if not self._run_in(directory).finished]
        if error := self._common_error(unfinished):
            print_error(error)
            raise ReportedError
        add_jobs(self.directory, {directory: filter_overrides(words) for words, directory in self.jobs.items()})

    def _job(self, overrides: Overrides, number: int) -> DictConfig:
        return compose_job(self.config, self.config_loader, overrides, number)

    def _hash(self, overrides: Overrides, number: int) -> str:
        return config_hash_of(_root_=self._job(overrides, number))

    def _run_in(self, directory: str) -> RunDirectory:
        return RunDirectory(self.directory / directory)

    def _states(self) -> list[str]:
        return [self._run_in(directory).state for directory in self.jobs.values()]

    def _checked_directory(self, overrides: Overrides, number: int) -> str:
        config = self._job(overrides, number)
        check_script(config, self.config.hydra.job.config_name)
        check_launcher(config.get("trainer"), self.config.hydra.launcher)
        return str(config.hydra.sweep.subdir)

    def _common_error(self, combinations: Sequence[Overrides]) -> ValueError | None:
        """Return the error in the settings that all of these jobs have in common, or None."""
        first: ValueError | None = None
        for number, overrides in enumerate(combinations):
            try:
                check_settings(without_hydra(self._job(overrides, number)))
                return None
            except ValueError as error:
                if first is not None and str(error) != str(first):
                    return None
                first = error
        return first

    def _announce(self, counts: Counter[str]) -> None:
        if counts.total() > counts["absent"]:
            print(
                f"sweep {run_report.relative(self.directory.resolve())}: {counts.total()} jobs, "
                f"{sum(counts[state] for state in FINISHED)} already finished, "
                f"{counts['interrupted'] + counts['killed']} to resume, {counts['failed']} failed before, "
                f"{counts['absent']} new"
                + (f", {counts['running']} running in another process" if counts["running"] else "")
                + (f", {counts[DAMAGED]} damaged, to resume or begin anew" if counts[DAMAGED] else "")
            )

    def _report(self) -> int:
        """Print how the jobs ended, and return the number of failed jobs."""
        after = self._states()
        for index, overrides in enumerate(self.jobs):
            if overrides in self.errors and after[index] in ("absent", "killed"):
                after[index] = "failed"  # it failed before writing a summary, or its worker died
            if isinstance(getattr(self.errors.get(overrides), "__cause__", None), DamagedFile):
                after[index] = DAMAGED
        Console().print(f"sweep {run_report.relative(self.directory.resolve())}", soft_wrap=True, highlight=False)
        Console().print(_table(Counter(after)))
        console = Console(stderr=True, highlight=False, markup=False)  # brackets in reasons are not markup
        failures = [
            (state, *job) for job, state in zip(self.jobs.items(), after, strict=True) if state in ("failed", DAMAGED)
        ]
        for state, overrides, directory in failures[:SHOWN]:
            reason = self._reason(directory, self.errors.get(overrides))
            console.print(f"{state}: {_title(overrides)} ({reason})", soft_wrap=True)
        if len(failures) > SHOWN:
            console.print(f"… and {len(failures) - SHOWN} more failed jobs")
        if {*after} - {*FINISHED}:
            console.print(f"to resume: repeat the command with hydra.sweep.dir={self.directory}", soft_wrap=True)
        return len(failures)

    def _draw(self) -> None:
        """Draw the figure that the config names, if any, from the runs of the sweep."""
        config = plain(OmegaConf.masked_copy(self.config, ["figure", "logger"]))
        if config["figure"]:
            try:
                draw_sweep(self.directory, config["figure"], name=self._name(), logger=config["logger"])
            except ValueError as error:  # no run has data for the figure
                print_error(error)

    def _name(self) -> str:
        """Return the file name of the figure: the name of the experiment, else of the command; "figure" for train."""
        if experiment := self.config.hydra.runtime.choices.get("experiment"):
            return str(experiment).rpartition("/")[2]
        script = str(self.config.hydra.job.config_name)
        return "figure" if script == "train" else script

    def _reason(self, directory: str, error: BaseException | None) -> str:
        try:
            summary = self._run_in(directory).summary()
        except DamagedFile as damaged:
            summary, error = None, error or damaged
        if summary is not None and summary["status"] == "failed":
            return str(summary.get("reason"))
        cause = error.__cause__ or error if isinstance(error, ReportedError) else error
        if isinstance(cause, ReportedError) and not str(cause):
            return "see the error above"
        return error_message(cause) if cause is not None else "unknown reason"


def _title(overrides: Overrides) -> str:
    return run_title(filter_overrides(overrides))


def _table(counts: Counter[str]) -> Table:
    table = Table("status", "jobs")
    table.columns[1].justify = "right"
    for state, colour in STATES.items():
        if counts[state] or state in ALWAYS:
            table.add_row(state, str(counts[state]), style=colour)
    return table
