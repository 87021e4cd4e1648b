"""The report printed at the end of a multirun: how its jobs ended, and why those with an error did."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from start_training.config.errors import ReportedError, error_message
from start_training.files.damaged_file import DamagedFile
from start_training.reports import run_report
from start_training.reports.terminal import print_lines, print_table
from start_training.runs.directory import DAMAGED, FINISHED, RunDirectory

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


@dataclass(frozen=True)
class JobEnd:
    """How a job of a multirun ended.

    Args:
        title: the name of the job for the report.
        run: the job's run directory.
        error: the error of the job in this multirun, None without one.
    """

    title: str
    run: RunDirectory
    error: BaseException | None

    @property
    def state(self) -> str:
        """The state of the run, except that a job with an error has not finished."""
        if isinstance(getattr(self.error, "__cause__", None), DamagedFile):
            return DAMAGED
        state = self.run.state
        if self.error is not None and state in ("absent", "killed", *FINISHED):
            return "failed"  # before writing a summary; its worker died; or the summary is another run's
        return state

    @property
    def reason(self) -> str:
        """Why the job has an error."""
        error = self.error
        try:
            summary = self.run.summary()
        except DamagedFile as damaged:
            summary, error = None, error or damaged
        if summary is not None and summary["status"] == "failed":
            return str(summary.get("reason"))
        cause = error.__cause__ or error if isinstance(error, ReportedError) else error
        if isinstance(cause, ReportedError) and not str(cause):
            return "see the error above"
        return error_message(cause) if cause is not None else "unknown reason"


def print_report(sweep: Path, jobs: Sequence[JobEnd]) -> int:
    """Print how the jobs of a multirun ended, and return the number of jobs with an error."""
    states = [job.state for job in jobs]
    print_lines(f"sweep {run_report.relative(sweep.resolve())}")
    if jobs:  # a finished search that is started again has none
        print_table(_table(Counter(states)))
    console = Console(stderr=True, highlight=False, markup=False)  # brackets in reasons are not markup
    # Also jobs that can resume, but ended with an error because memory ran out or a process of them was killed.
    failures = [
        (state, job)
        for state, job in zip(states, jobs, strict=True)
        if state in ("failed", DAMAGED) or job.error is not None
    ]
    for state, job in failures[:SHOWN]:
        console.print(f"{state}: {job.title} ({job.reason})", soft_wrap=True)
    if len(failures) > SHOWN:
        console.print(f"… and {len(failures) - SHOWN} more jobs with an error")
    if {*states} - {*FINISHED}:
        console.print(f"to resume: repeat the command with hydra.sweep.dir={sweep}", soft_wrap=True)
    return len(failures)


def _table(counts: Counter[str]) -> Table:
    table = Table("status", "jobs")
    table.columns[1].justify = "right"
    for state, colour in STATES.items():
        if counts[state] or state in ALWAYS:
            table.add_row(state, str(counts[state]), style=colour)
    return table
