"""Resumable multiruns: finished jobs are skipped, interrupted jobs resume, and failed jobs start again."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from start_training.analysis.columns import check_chosen_columns
from start_training.analysis.sweep_table import override_settings
from start_training.config.composed import check_script, compose_job, config_hash_of, in_directory, plain, without_hydra
from start_training.config.errors import ReportedError, print_error
from start_training.config.loggers import wandb_nodes
from start_training.config.top_level import check_effects
from start_training.config.wandb_server import asked_once
from start_training.launchers.process_tree import check_launcher
from start_training.launchers.sweep_report import JobEnd, print_report
from start_training.launchers.workers import NotStarted, launch
from start_training.reports import run_report
from start_training.reports.sweep_figure import draw_sweep
from start_training.reports.terminal import print_lines
from start_training.runs.directory import DAMAGED, FINISHED, RunDirectory
from start_training.runs.job import run_title, shown_overrides
from start_training.runs.sweep_jobs import add_jobs
from start_training.runs.trust import names_in
from start_training.settings import positive_integer
from start_training.stop_signals import raising
from start_training.training.train import check_settings

Overrides = Sequence[str]


@dataclass
class Sweep:
    """The jobs of a multirun. `run` launches the unfinished jobs and prints how all jobs ended.

    Args:
        config: the config of the multirun.
        launcher: a Hydra launcher, set up with this config.
        config_loader: Hydra's config loader.
        jobs: the jobs by their overrides, filled by `run`.
        errors: the exceptions of failed jobs by their overrides, filled by `run`.
        named: what the configs of the jobs name, such as classes of the user, filled by `run` if a figure is drawn.
    """

    config: DictConfig
    launcher: Any
    config_loader: Any
    jobs: dict[tuple[str, ...], str] = field(default_factory=dict)  # run directories by overrides
    errors: dict[tuple[str, ...], BaseException] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)

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
            ValueError: two different jobs have the same directory, or W&B's server cannot be used and
                `logger.wandb.fallback` is `error`.
        """
        self._plan([overrides for batch in batches for overrides in batch])
        before = dict(zip(self.jobs, self._states(), strict=True))
        before |= dict.fromkeys(self._of_other_configs(before), "other config")
        self._announce(Counter(before.values()))
        unfinished = [[job for job in batch if before.get(tuple(job)) not in (None, *FINISHED)] for batch in batches]
        with asked_once(self._wandb_nodes([job for batch in unfinished for job in batch])):
            return self._run(unfinished)

    def job(self, overrides: Overrides, number: int) -> DictConfig:
        """Compose the config of a job."""
        return compose_job(self.config, self.config_loader, overrides, number)

    def _run(self, batches: Sequence[Sequence[Overrides]]) -> list[Sequence[JobReturn]]:
        returns: list[Sequence[JobReturn]] = []
        first, begun = 0, True
        try:
            with raising():
                for batch in batches:
                    # The planned directory, since launchers number only the jobs that they get.
                    placed = [[*job, in_directory(self.jobs[tuple(job)])] for job in batch]
                    returns.append(launch(self.launcher, self.config, placed, first) if placed else [])
                    for job, end in zip(batch, returns[-1], strict=True):
                        if end.status == JobStatus.FAILED:
                            self.errors[tuple(job)] = end._return_value
                    first += len(batch)
        except NotStarted:
            begun = bool(returns)
            raise
        finally:
            failed = self._report() if begun else 0
        if failed < len(self.jobs):
            self._draw()
        if failed or self.errors:
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
                    f"{self._title(combinations[first])} and {self._title(overrides)}"
                )
        typed = [word for words in self.jobs for word in shown_overrides(words)]
        if figure := self._drawn()["figure"]:
            check_chosen_columns(figure, override_settings(typed))
        unfinished = [words for words, directory in self.jobs.items() if not self._run_in(directory).finished]
        if error := self._common_error(unfinished):
            print_error(error)
            raise ReportedError
        add_jobs(self.directory, {directory: shown_overrides(words) for words, directory in self.jobs.items()})

    def _wandb_nodes(self, jobs: Sequence[Overrides]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the W&B loggers of the jobs: those of the first job, unless the jobs may differ in their loggers."""
        differ = any(word.lstrip("+~").startswith(("logger", "experiment")) for job in jobs for word in job)
        for number, overrides in enumerate(jobs if differ else jobs[:1]):
            yield from wandb_nodes(without_hydra(self.job(overrides, number)))

    def _hash(self, overrides: Overrides, number: int) -> str:
        return config_hash_of(_root_=self.job(overrides, number))

    def _run_in(self, directory: str) -> RunDirectory:
        return RunDirectory(self.directory / directory)

    def _states(self) -> list[str]:
        return [self._run_in(directory).state for directory in self.jobs.values()]

    def _of_other_configs(self, states: Mapping[tuple[str, ...], str]) -> Iterator[tuple[str, ...]]:
        """Yield the jobs whose directories hold a finished run of another config, which these jobs will report."""
        subdir = str(OmegaConf.to_container(self.config.hydra.sweep, resolve=False))
        if "${config_hash:" in subdir:  # the name of each directory is the hash of its config
            return
        for number, (job, state) in enumerate(states.items()):
            try:
                if state in FINISHED:
                    self._run_in(self.jobs[job]).check_free(without_hydra(self.job(job, number)))
            except ValueError:
                yield job

    def _checked_directory(self, overrides: Overrides, number: int) -> str:
        config = self.job(overrides, number)
        check_script(config, self.config.hydra.job.config_name)
        check_launcher(config.get("trainer"), self.config.hydra.launcher)
        if config.get("figure"):
            self.named |= names_in(without_hydra(config))
        return str(config.hydra.sweep.subdir)

    def _common_error(self, combinations: Sequence[Overrides]) -> ValueError | None:
        """Return the error in the settings that all of these jobs have in common, or None."""
        first: ValueError | None = None
        for number, overrides in enumerate(combinations):
            try:
                job = self.job(overrides, number)
                check_effects(job, overrides)
                check_settings(without_hydra(job))
                return None
            except ValueError as error:
                if first is not None and str(error) != str(first):
                    return None
                first = error
        return first

    def _announce(self, counts: Counter[str]) -> None:
        if counts.total() > counts["absent"]:
            print_lines(
                f"sweep {run_report.relative(self.directory.resolve())}: {counts.total()} jobs, "
                f"{sum(counts[state] for state in FINISHED)} already finished, "
                f"{counts['interrupted'] + counts['killed']} to resume, {counts['failed']} failed before, "
                f"{counts['absent']} new"
                + (f", {counts['running']} running in another process" if counts["running"] else "")
                + (f", {counts[DAMAGED]} damaged, to resume or begin anew" if counts[DAMAGED] else "")
            )

    def _report(self) -> int:
        jobs = [
            JobEnd(self._title(overrides), self._run_in(directory), self.errors.get(overrides))
            for overrides, directory in self.jobs.items()
        ]
        return print_report(self.directory, jobs)

    def _draw(self) -> None:
        """Draw the figure that the config names, if any, from the runs of the sweep."""
        config = self._drawn()
        if config["figure"]:
            try:
                options = {"name": self._name(), "logger": config["logger"], "trust": self.named}
                draw_sweep(self.directory, config["figure"], **options)
            except ValueError as error:  # no run has data for the figure, or another run names what is not trusted
                print_error(error)

    def _title(self, overrides: Overrides) -> str:
        return run_title(shown_overrides(overrides), self.config.hydra.runtime.choices)

    def _drawn(self) -> dict[str, Any]:
        return plain(OmegaConf.masked_copy(self.config, ["figure", "logger"]))

    def _name(self) -> str:
        """Return the file name of the figure: the name of the experiment, else of the command; "figure" for train."""
        if (experiment := self.config.hydra.runtime.choices.get("experiment")) not in (None, "none"):
            return str(experiment).rpartition("/")[2]
        script = str(self.config.hydra.job.config_name)
        return "figure" if script == "train" else script


def check_grid(overrides: Sequence[Override]) -> None:
    """Raise ValueError for a range of all numbers, which a grid cannot have."""
    for override in overrides:
        if override.is_interval_sweep():
            raise ValueError(
                f"{override.get_key_element()} = {override.get_value_string()}: a grid needs single values; must be "
                "choice(…), range(…) or a,b, or add hydra/sweeper=optuna to search"
            )


def check_sweeper(params: object, max_batch_size: object) -> None:
    """Raise ValueError if the sweeper's settings are not a mapping of settings to values, and a number of jobs."""
    if not isinstance(params, Mapping | None):
        raise ValueError(f"hydra.sweeper.params = {params!r}: must be a mapping, as hydra.sweeper.params.seed='1,2'")
    if max_batch_size is not None:
        positive_integer("hydra.sweeper.max_batch_size", max_batch_size)
