"""A sweep whose jobs are chosen while it runs, in batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.core.utils import JobReturn, JobStatus

from start_training.config.composed import in_directory
from start_training.config.errors import ReportedError
from start_training.config.wandb_server import asked_once
from start_training.launchers.sweep import Overrides, Sweep
from start_training.launchers.workers import launch
from start_training.runs.directory import FINISHED
from start_training.stop_signals import raising


class GrowingSweep(Sweep):
    """A sweep to which jobs are added while it runs: `launch_more` within `running`, then `finish`."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Open while jobs are launched by `launch_more`; a signal that stops the sweep is raised, after a report."""
        try:
            with raising():
                yield
        except BaseException:
            self._report()
            raise

    def launch_more(self, jobs: Sequence[Overrides], first: int) -> Sequence[JobReturn]:
        """Launch further jobs, which are chosen while the sweep runs, unless they have finished.

        Args:
            jobs: the overrides of each job.
            first: the number of the first job.
        Returns:
            The results of the launched jobs.
        """
        self._plan(jobs)
        unfinished: dict[str, Overrides] = {}
        for number, job in enumerate(jobs, first):
            directory = self.jobs.setdefault(tuple(job), self._checked_directory(job, number))
            if self._run_in(directory).state not in FINISHED:
                unfinished.setdefault(directory, job)  # two trials may have the same settings
        placed = [[*job, in_directory(directory)] for directory, job in unfinished.items()]
        with asked_once(self._wandb_nodes([*unfinished.values()])):
            returns = launch(self.launcher, self.config, placed, first) if placed else []
        for job, end in zip(unfinished.values(), returns, strict=True):
            if end.status == JobStatus.FAILED:
                self.errors[tuple(job)] = end._return_value
        return returns

    def finish(self) -> None:
        """Print how the jobs of `launch_more` ended, and draw the figure; raise ReportedError if one has failed."""
        failed = self._report()
        if failed < len(self.jobs):
            self._draw()
        if failed or self.errors:
            raise ReportedError
