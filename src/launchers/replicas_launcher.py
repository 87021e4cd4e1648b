"""The `replicas` launcher: jobs of equal shapes are grouped, and an inner launcher trains each group as one program."""

import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from start_training.config.composed import compose_job, in_directory, without_hydra
from start_training.config.errors import ReportedError
from start_training.config.top_level import check_effects, check_top_level
from start_training.launchers.inner_launcher import BASIC, memory_limit, with_inner, workers_of
from start_training.launchers.replica_plan import ReplicaPlan, plan
from start_training.launchers.replica_report import print_plan
from start_training.launchers.replica_units import OVERRIDE, units_folder, write_unit
from start_training.launchers.workers import NotStarted, launch
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.settings import number_from_zero, positive_integer

Overrides = Sequence[str]


class Replicas:
    """Implementation of the replicas launcher, whose settings are in conf/hydra/launcher/replicas.yaml.

    Args:
        config: the config of the multirun.
        context: Hydra's context, with the config loader.
        task: the function that Hydra calls with the config of each job.

    Raises:
        ValueError: a setting is invalid, or the command is not `train`.
    """

    def __init__(self, config: DictConfig, context: HydraContext, task: TaskFunction) -> None:
        if (script := config.hydra.job.name) != "train":
            raise ValueError(f"hydra.launcher = replicas: only the command train supports it, not {script}")
        settings, max_size = config.hydra.launcher, config.hydra.launcher.max_size
        self.max_size = None if max_size is None else positive_integer("hydra.launcher.max_size", max_size)
        self.checkpoint_seconds = number_from_zero("hydra.launcher.checkpoint_seconds", settings.checkpoint_seconds)
        self.config, self.loader, self.sweep = config, context.config_loader, Path(str(config.hydra.sweep.dir))
        self.inner_config = with_inner(config, self.loader, settings.inner or BASIC, settings.settings or {})
        self.workers = workers_of(self.inner_config.hydra.launcher)
        self._mistakes: dict[Path, str] = {}  # of single jobs, by their directories
        self.inner = Plugins.instance().instantiate_launcher(context, task, self.inner_config)

    def launch(self, all_overrides: Sequence[Overrides], first: int) -> list[JobReturn]:
        """Print the plan, train all groups and single jobs, and return the result of each job.

        Args:
            all_overrides: the overrides of each job.
            first: the number of the first job in the multirun.
        Raises:
            NotStarted: a setting is invalid; no job has started.
        """
        try:
            jobs = [self._job(overrides, first + number) for number, overrides in enumerate(all_overrides)]
            overrides = dict(zip((job.directory for job in jobs), all_overrides, strict=True))
            planned = self._plan([*{job.directory: job for job in jobs}.values()])  # without duplicate jobs
        except ValueError as error:
            raise NotStarted(str(error)) from error
        print_plan(planned, inner=str(self.inner_config.hydra.runtime.choices["hydra/launcher"]), workers=self.workers)
        with units_folder(self.sweep) as folder:
            items = [*self._groups(planned, overrides, folder), *self._single_jobs(planned, overrides)]
            returns = launch(self.inner, self.inner_config, items, first)
        by_directory = _by_directory(planned, returns)
        return [_returned(job, by_directory.get(job.directory, JobReturn())) for job in jobs]

    def _job(self, overrides: Overrides, number: int) -> Job:
        composed = compose_job(self.config, self.loader, overrides, number)
        config = without_hydra(composed)
        directory = self.sweep / str(composed.hydra.sweep.subdir)
        try:
            check_top_level(config)
            check_effects(composed, overrides)
        except ValueError as error:  # the job itself will report it
            self._mistakes[directory] = str(error)
        hydra = composed.hydra
        return Job(config, directory, list(hydra.overrides.task), self.sweep.name, dict(hydra.runtime.choices))

    def _plan(self, jobs: Sequence[Job]) -> ReplicaPlan:
        accelerator = (jobs[0].config.get("trainer") or {}).get("accelerator", "auto")
        limit = memory_limit(self.inner_config.hydra.launcher, accelerator, self.workers)
        return plan(jobs, self._mistakes, limit=limit, workers=self.workers, max_size=self.max_size)

    def _groups(self, planned: ReplicaPlan, overrides: dict[Path, Overrides], folder: Path) -> list[Overrides]:
        """Write each group to a file, and return the overrides by which the inner launcher starts it.

        `train_hydra_job` in cli/training_job.py reads them.
        """
        directories = [
            write_unit(folder, number, group.jobs, checkpoint_seconds=self.checkpoint_seconds)
            for number, group in enumerate(planned.groups)
        ]
        return [
            [*overrides[group.jobs[0].directory], OVERRIDE, in_directory(directory)]
            for group, directory in zip(planned.groups, directories, strict=True)
        ]

    def _single_jobs(self, planned: ReplicaPlan, overrides: dict[Path, Overrides]) -> list[Overrides]:
        """Return the overrides of each single job for the inner launcher.

        They set the job's directory, whose name may contain the job's number: the inner launcher numbers differently.
        """
        return [
            [*overrides[job.directory], in_directory(os.path.relpath(job.directory, self.sweep))]
            for job, _ in planned.single_jobs
        ]


def _by_directory(planned: ReplicaPlan, returns: Sequence[JobReturn]) -> dict[Path, JobReturn]:
    """Return the inner launcher's result of each job, or of the group of the job, by the directory of the job."""
    units = [*(group.jobs for group in planned.groups), *([job] for job, _ in planned.single_jobs)]
    return {job.directory: returned for jobs, returned in zip(units, returns, strict=True) for job in jobs}


def _returned(job: Job, unit: JobReturn) -> JobReturn:
    """Return the result of one job: failed if its summary says so, or if its unit failed before writing a summary.

    Args:
        job: the job.
        unit: the inner launcher's result of the job or of its group.
    """
    run = RunDirectory(job.directory)
    returned = JobReturn(overrides=list(job.overrides), working_dir=os.getcwd(), status=JobStatus.COMPLETED)
    try:
        summary = run.summary()
        run.check_free(job.config)
    except ValueError as error:  # a damaged summary, or a run of another config, for which the unit printed the error
        returned.status, returned._return_value = JobStatus.FAILED, error
        return returned
    if summary is not None and summary["status"] == "failed":
        returned.status, returned._return_value = JobStatus.FAILED, ReportedError(summary.get("reason"))
    elif summary is None and unit.status == JobStatus.FAILED:
        raised = unit._return_value
        cause = raised.__cause__ if isinstance(raised, ReportedError) and raised.__cause__ else raised
        returned.status, returned._return_value = JobStatus.FAILED, cause
    return returned
