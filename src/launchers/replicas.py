"""The `replicas` launcher: jobs of equal shapes in groups, each trained as one program by some other launcher."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from start_training.config.composed import check_depth, composed_job, plain
from start_training.config.errors import ReportedError
from start_training.launchers.inner_launcher import BASIC, memory_limit, with_inner, workers_of
from start_training.launchers.replica_plan import Plan, SweepRun, plan
from start_training.launchers.replica_report import show
from start_training.launchers.replica_units import OVERRIDE, units_folder, write_unit
from start_training.launchers.workers import NotStarted
from start_training.launchers.workers import launch as launch_items
from start_training.runs.directory import RunDirectory
from start_training.settings import number_from_zero, positive_integer

Overrides = Sequence[str]


@dataclass
class Replicas:
    """A multirun's launcher of groups: its own settings checked, and the launcher that they are handed to."""

    config: DictConfig  # the multirun's, as if the inner launcher had been asked for
    context: HydraContext
    inner: Any
    workers: int
    max_size: int | None
    checkpoint_seconds: float = 30.0
    composed: dict[tuple[str, ...], SweepRun] = field(default_factory=dict)  # and not launched yet

    @classmethod
    def of(cls, config: DictConfig, context: HydraContext, task: TaskFunction) -> "Replicas":
        """From the multirun's config, with `hydra.launcher` as in conf/hydra/launcher/replicas.yaml.

        Raises ValueError for a setting that cannot be used.
        """
        if (script := config.hydra.job.name) != "train":
            raise ValueError(f"hydra.launcher = replicas: trains nets together, and the command {script} trains none")
        asked = config.hydra.launcher
        max_size = None if asked.max_size is None else positive_integer("hydra.launcher.max_size", asked.max_size)
        seconds = number_from_zero("hydra.launcher.checkpoint_seconds", asked.checkpoint_seconds)
        inner = with_inner(config, context.config_loader, asked.inner or BASIC, asked.settings or {})
        workers = workers_of(inner.hydra.launcher)
        launcher = Plugins.instance().instantiate_launcher(context, task, inner)
        return cls(inner, context, launcher, workers, max_size, seconds)

    @property
    def sweep(self) -> Path:
        """The directory of all runs."""
        return Path(str(self.config.hydra.sweep.dir))

    def keep(self, overrides: Overrides, job: DictConfig) -> None:
        """Take a job as the sweeper has just composed it, so that it need not be done again."""
        self.composed[tuple(overrides)] = _sweep_run(overrides, job)

    def launch(self, all_overrides: Sequence[Overrides], first: int) -> list[JobReturn]:
        """Print the plan, train, and return what became of each job. Raises as the inner launcher does."""
        jobs = [self._composed(overrides, first + number) for number, overrides in enumerate(all_overrides)]
        planned = self._plan([*{job.directory: job for job in jobs}.values()])  # some may be asked for twice
        with units_folder(self.sweep) as folder:
            items = _items(planned, folder, self.checkpoint_seconds)
            returns = launch_items(self.inner, items, first)
        by_directory = _by_directory(planned, returns)
        return [_returned(job, by_directory.get(job.directory, JobReturn()), self.sweep) for job in jobs]

    def _composed(self, overrides: Overrides, number: int) -> SweepRun:
        if (kept := self.composed.pop(tuple(overrides), None)) is not None:
            return kept
        return _sweep_run(overrides, composed_job(self.config, self.context.config_loader, overrides, number))

    def _plan(self, jobs: Sequence[SweepRun]) -> Plan:
        """Made, and printed. Raises `NotStarted` for what cannot be trained as replicas."""
        limit = memory_limit(self.config.hydra.launcher, [job.config for job in jobs], self.workers)
        try:
            planned = plan(jobs, self.sweep, limit=limit, workers=self.workers, max_size=self.max_size)
        except ValueError as error:
            raise NotStarted(str(error)) from error
        show(planned, inner=str(self.config.hydra.runtime.choices["hydra/launcher"]), workers=self.workers)
        return planned


def _sweep_run(overrides: Overrides, job: DictConfig) -> SweepRun:
    """A job that has just been composed, so that Hydra's own config is its."""
    config = plain(OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"]))
    try:
        check_depth(config)
        mistake = None
    except ValueError as error:
        mistake = str(error)
    return SweepRun(overrides, str(job.hydra.sweep.subdir), list(job.hydra.overrides.task), config, mistake)


def _items(planned: Plan, folder: Path, checkpoint_seconds: float) -> list[Overrides]:
    """What the inner launcher is given: the groups, as `cli/training_job.py` takes them, then the other jobs."""
    items: list[Overrides] = []
    for number, group in enumerate(planned.groups):
        jobs = [
            {"directory": job.directory, "overrides": list(job.overrides), "config": job.config} for job in group.jobs
        ]
        subdirectory = write_unit(folder, number, jobs, checkpoint_seconds=checkpoint_seconds)
        items.append([*group.jobs[0].launched, OVERRIDE, f"hydra.sweep.subdir={subdirectory}"])
    # Each where the plan has it: a directory that is named by the job's number would be that of the item's.
    return items + [[*job.launched, f"hydra.sweep.subdir='{job.directory}'"] for job, _ in planned.alone]


def _by_directory(planned: Plan, returns: Sequence[JobReturn]) -> dict[str, JobReturn]:
    """For each job what its group, or itself, has returned."""
    units = [*(group.jobs for group in planned.groups), *([job] for job, _ in planned.alone)]
    # joblib returns nothing at all after a signal
    return {job.directory: returned for jobs, returned in zip(units, returns, strict=bool(returns)) for job in jobs}


def _returned(job: SweepRun, of_unit: JobReturn, sweep: Path) -> JobReturn:
    """A job's own return: it failed if it says so, or if its unit failed before it could say anything."""
    summary = RunDirectory(sweep / job.directory).summary()
    returned = JobReturn(overrides=list(job.overrides), working_dir=os.getcwd(), status=JobStatus.COMPLETED)
    if summary is not None and summary["status"] == "failed":
        returned.status, returned._return_value = JobStatus.FAILED, ReportedError(summary["reason"])
    elif summary is None and of_unit.status == JobStatus.FAILED:
        said = of_unit._return_value  # by its group, of which the terminal has the reason
        cause = said.__cause__ if isinstance(said, ReportedError) and said.__cause__ else said
        returned.status, returned._return_value = JobStatus.FAILED, cause
    return returned
