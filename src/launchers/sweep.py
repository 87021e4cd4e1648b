"""A multirun that survives: what is finished is left alone, what was cut off goes on, what failed begins anew."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from start_training.config.composed import check_script, composed_job, config_hash_of, plain, without_hydra
from start_training.config.errors import ReportedError, error_message, print_error
from start_training.launchers.process_tree import check_launcher
from start_training.launchers.workers import NotStarted, launch
from start_training.reports import run_report
from start_training.reports.sweep_figure import draw_sweep
from start_training.runs.directory import FINISHED, RunDirectory
from start_training.runs.sweep_jobs import SweepJob, add_jobs, states
from start_training.training.train import check_settings

Overrides = Sequence[str]
SHOWN = 10  # jobs that are named one by one
STATES = {  # and their colours
    "completed": "",
    "diverged": "",
    "failed": "red",
    "interrupted": "yellow",
    "killed": "yellow",
    "running": "yellow",
    "absent": "yellow",
}
ALWAYS = ("completed", "diverged", "failed")


@dataclass
class Sweep:
    """The jobs of one command line: planned from their directories, launched, and told of at the end."""

    config: DictConfig
    launcher: Any
    config_loader: Any

    @property
    def directory(self) -> Path:
        return Path(str(self.config.hydra.sweep.dir))

    def run(self, batches: Sequence[Sequence[Overrides]]) -> list[Sequence[JobReturn]]:
        """Launch what is not finished. Raises `ReportedError` if any job has failed, after all others have run."""
        jobs = self._plan([overrides for batch in batches for overrides in batch])
        there = dict(zip(jobs, states(self.directory, [*jobs.values()]), strict=True))
        self._announce(list(there.values()))
        returns: list[Sequence[JobReturn]] = []
        errors: dict[tuple[str, ...], BaseException] = {}
        first, begun = 0, True
        try:
            for batch in batches:
                wanted = [each for each in batch if there.get(tuple(each)) not in (None, *FINISHED)]
                returns.append(launch(self.launcher, self.config, wanted, first) if wanted else [])
                errors |= _errors(wanted, returns[-1])
                first += len(batch)
        except NotStarted:
            begun = bool(returns)
            raise
        finally:
            failed = self._tell(jobs, errors) if begun else 0
        if failed < len(jobs):
            self._draw()
        if failed:
            raise ReportedError
        return returns

    def _plan(self, combinations: Sequence[Overrides]) -> dict[tuple[str, ...], SweepJob]:
        """Each job once, by its overrides, though it may be asked for twice; written in the sweep's list of jobs.

        Raises ValueError for a directory that would be that of two jobs.
        """
        jobs: dict[tuple[str, ...], SweepJob] = {}
        first_in: dict[str, int] = {}
        for number, overrides in enumerate(combinations):
            job = self._composed(overrides, number)
            first = first_in.setdefault(job.directory, number)
            if first == number:
                jobs[tuple(overrides)] = job
            elif self._hash(combinations[first], first) != self._hash(overrides, number):
                raise ValueError(
                    f"hydra.sweep.subdir = {job.directory}: is the directory of two jobs, "
                    f"{jobs[tuple(combinations[first])].name} and {job.name}"
                )
        wanted = [each for each, job in jobs.items() if not RunDirectory(self.directory / job.directory).finished]
        if mistake := self._mistake_of_all(wanted):
            print_error(mistake)
            raise ReportedError
        add_jobs(self.directory, jobs.values())
        return jobs

    def _job(self, overrides: Overrides, number: int) -> DictConfig:
        return composed_job(self.config, self.config_loader, overrides, number)

    def _hash(self, overrides: Overrides, number: int) -> str:
        return config_hash_of(_root_=self._job(overrides, number))

    def _composed(self, overrides: Overrides, number: int) -> SweepJob:
        config = self._job(overrides, number)
        check_script(config, self.config.hydra.job.config_name)
        check_launcher(config.get("trainer"), self.config.hydra.launcher)
        return SweepJob(str(config.hydra.sweep.subdir), tuple(filter_overrides(overrides)))

    def _mistake_of_all(self, combinations: Sequence[Overrides]) -> ValueError | None:
        """What is wrong with the settings of every job, if that is the same: to be said once, and nothing begun."""
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

    def _announce(self, there: list[str]) -> None:
        counts = Counter(there)
        done = sum(counts[state] for state in FINISHED)
        if len(there) > counts["absent"]:
            resumed = counts["interrupted"] + counts["killed"]
            print(
                f"sweep {run_report.relative(self.directory.resolve())}: {len(there)} jobs, {done} finished before, "
                f"{resumed} to go on with, {counts['failed']} that failed, {counts['absent']} new"
                + (f", {counts['running']} that another process has" if counts["running"] else "")
            )

    def _tell(self, jobs: dict[tuple[str, ...], SweepJob], errors: dict[tuple[str, ...], BaseException]) -> int:
        """Show what became of the jobs; returns how many have failed."""
        found = states(self.directory, [*jobs.values()])
        for index, overrides in enumerate(jobs):
            if overrides in errors and found[index] in ("absent", "killed"):
                found[index] = "failed"  # before it could leave a summary, or in a worker that died
        Console().print(f"sweep {run_report.relative(self.directory.resolve())}", soft_wrap=True, highlight=False)
        Console().print(_counts(found))
        console = Console(stderr=True, highlight=False, markup=False)  # reasons may hold brackets
        failures = [pair for pair, state in zip(jobs.items(), found, strict=True) if state == "failed"]
        for overrides, job in failures[:SHOWN]:
            console.print(f"failed: {job.name} ({self._reason(job, errors.get(overrides))})", soft_wrap=True)
        if len(failures) > SHOWN:
            console.print(f"… and {len(failures) - SHOWN} more")
        if {*found} - {*FINISHED}:
            console.print(f"go on: the same command with hydra.sweep.dir={self.directory}", soft_wrap=True)
        return len(failures)

    def _draw(self) -> None:
        """The figure of an experiment; scripts/draw.py draws it at any other time."""
        config = plain(OmegaConf.masked_copy(self.config, ["figure", "logger"]))
        if config["figure"]:
            try:
                draw_sweep(self.directory, config["figure"], name=self._name(), logger=config["logger"])
            except ValueError as error:  # there is nothing to draw
                print_error(error)

    def _name(self) -> str:
        """Of its figure: the experiment, or what its script is for; of plain training runs that says nothing."""
        if experiment := self.config.hydra.runtime.choices.get("experiment"):
            return str(experiment).rpartition("/")[2]
        script = str(self.config.hydra.job.config_name)
        return "figure" if script == "train" else script

    def _reason(self, job: SweepJob, error: BaseException | None) -> str:
        summary = RunDirectory(self.directory / job.directory).summary()
        if summary is not None:
            return str(summary["reason"])
        cause = error.__cause__ or error if isinstance(error, ReportedError) else error
        if isinstance(cause, ReportedError) and not str(cause):
            return "as said above"
        return error_message(cause) if cause is not None else "no reason left"


def _errors(jobs: Sequence[Overrides], returns: Sequence[JobReturn]) -> dict[tuple[str, ...], BaseException]:
    pairs = zip(jobs, returns, strict=True)
    return {tuple(overrides): each._return_value for overrides, each in pairs if each.status == JobStatus.FAILED}


def _counts(found: list[str]) -> Table:
    table = Table("status", "jobs")
    table.columns[1].justify = "right"
    counts = Counter(found)
    for state, colour in STATES.items():
        if counts[state] or state in ALWAYS:
            table.add_row(state, str(counts[state]), style=colour)
    return table
