"""The plan of the replicas launcher: which jobs train in which group, which train on their own, and why."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from start_training.config.build import build_datamodule, construct_net
from start_training.config.errors import error_message
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.files.open_files import max_open_runs
from start_training.launchers.grouping import check_replicas, group_key, ungroupable_reason
from start_training.replicas.group_checkpoint import start_of
from start_training.replicas.memory import optimizer_states, outgrows_caches, replica_bytes
from start_training.replicas.vectorization_check import NotVectorized, check_vectorized, draws_random_numbers
from start_training.runs.checkpoint import load_newest
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.streams import isolate_random_streams

Start = tuple[int, int, int]  # progress of a job's checkpoint: full epochs, batches of the next epoch, optimizer steps


@dataclass(frozen=True)
class PlannedGroup:
    """Jobs that train together in one program, starting at the same step.

    Args:
        jobs: the jobs, one per replica.
        start: progress of their checkpoints, (0, 0, 0) for new runs.
        parameters: number of parameters of one net.
        bytes: memory of one replica.
        largest: largest number of jobs that a group of these jobs may have.
    """

    jobs: Sequence[Job]
    start: Start
    parameters: int
    bytes: int
    largest: int

    @property
    def net(self) -> str:
        """Class name of the net."""
        return str(self.jobs[0].config["model"]["_target_"]).rpartition(".")[2]


@dataclass
class ReplicaPlan:
    """The groups of jobs that train together, and the jobs that train on their own.

    Args:
        limit: bytes that the replicas of a group may allocate together; None: unknown.
        groups: the groups.
        single_jobs: (job, reason) of each job that trains on its own.
    """

    limit: int | None = None
    groups: list[PlannedGroup] = field(default_factory=list)
    single_jobs: list[tuple[Job, str]] = field(default_factory=list)


def plan(
    jobs: Sequence[Job],
    mistakes: Mapping[Path, str] = MappingProxyType({}),
    *,
    limit: int | None = None,
    workers: int = 1,
    max_size: int | None = None,
) -> ReplicaPlan:
    """Group the jobs of a sweep by the shapes of their tensors and by the step at which they start.

    Args:
        jobs: jobs with different directories.
        mistakes: directories of jobs with a wrong setting, which train on their own and report it, with the error.
        limit: bytes that a group may allocate; None: unknown, no limit.
        workers: how many groups train at a time. With fewer groups than workers, the largest groups are divided.
        max_size: largest number of replicas in a group; None: limited only by memory and open files.

    Raises:
        ValueError: a job has a setting that the replicas launcher does not support (`check_replicas`).
    """
    for job in jobs:
        check_replicas(job.config)
    planned = ReplicaPlan(limit)
    planned.single_jobs += [(job, mistakes[job.directory]) for job in jobs if job.directory in mistakes]
    candidates = _jobs_by_shape([job for job in jobs if job.directory not in mistakes], planned)
    groups = [group for start, alike in candidates for group in _sized_group(planned, alike, start, max_size)]
    _divide(planned, groups, workers)
    return planned


def _jobs_by_shape(jobs: Sequence[Job], plan: ReplicaPlan) -> list[tuple[Start, list[Job]]]:
    """Return lists of jobs with equal shapes and start; add ungroupable jobs to the plan's single jobs."""
    groups: dict[tuple[str, Start], list[Job]] = defaultdict(list)
    for job in jobs:
        try:
            if (reason := ungroupable_reason(job.config)) is None:
                groups[group_key(job.config), _start(job.directory)].append(job)
        except ValueError as error:  # such as a class that cannot be imported; the job itself will report it
            reason = str(error)
        if reason is not None:
            plan.single_jobs.append((job, reason))
    return [(start, alike) for (_, start), alike in groups.items()]


def _start(directory: Path) -> Start:
    newest = load_newest(RunDirectory(directory))
    return start_of(newest[1] if newest else None)


def _sized_group(plan: ReplicaPlan, jobs: Sequence[Job], start: Start, max_size: int | None) -> Iterator[PlannedGroup]:
    """Yield the group of these jobs with the memory of a replica, or yield nothing and add them as single jobs."""
    jobs = sorted(jobs, key=lambda job: optimizer_states(job.config))
    built = _build_last(jobs, plan) if len(jobs) > 1 else None
    if built is None or len(jobs) < 2:
        plan.single_jobs += [(job, "no other job has the same shapes and starts at the same step") for job in jobs]
        return
    config, (datamodule, net) = jobs[-1].config, built
    if (reason := _stacking_obstacle(jobs, config, net, datamodule)) is not None:
        plan.single_jobs += [(job, reason) for job in jobs]
        return
    size = replica_bytes(config, net, datamodule)
    limits = [max_size, None if plan.limit is None else plan.limit // size, max_open_runs()]
    largest = min([len(jobs), *(limit for limit in limits if limit is not None)])
    if largest < 2:
        reason = "max_size = 1" if max_size == 1 else f"two replicas would need {format_bytes(2 * size)} of memory"
        plan.single_jobs += [(job, reason) for job in jobs]
        return
    yield PlannedGroup(jobs, start, sum(weight.numel() for weight in net.parameters()), size, largest)


def _build_last(jobs: list[Job], plan: ReplicaPlan) -> tuple[TensorDataModule, nn.Module] | None:
    """Build datamodule and net of the last job, and return them.

    If that fails, move the job to the plan's single jobs with the error and try the job before it; None if all fail.
    """
    while jobs:
        try:
            with isolate_random_streams():
                datamodule = build_datamodule(jobs[-1].config)
                return datamodule, construct_net(jobs[-1].config, datamodule)
        except ValueError as error:
            plan.single_jobs.append((jobs.pop(), str(error)))
    return None


def _stacking_obstacle(
    jobs: Sequence[Job], config: Mapping[str, Any], net: nn.Module, datamodule: TensorDataModule
) -> str | None:
    """Return why the nets of these jobs cannot or should not be stacked, tested on two of them; None if they can.

    Raises NotVectorized if the net cannot be vectorized at all.
    """
    if config["trainer"].get("accelerator") == "cpu" and outgrows_caches(net):
        return "on a CPU, weights of this size train no faster in a group"
    if draws_random_numbers(net, datamodule.input_shape):
        return "the net draws random numbers in training (dropout), for which each run needs its own random stream"
    scaled = next((job.config for job in jobs if job.config["model"] != config["model"]), config)
    try:
        # Another seed, so that buffers and weights that a module draws itself differ between the two nets, too.
        with isolate_random_streams(torch.Generator().manual_seed(1)):
            other = construct_net(scaled, datamodule)
        check_vectorized(net, datamodule.input_shape, other=other)
    except NotVectorized:
        raise
    except Exception as error:  # a user's module can raise anything
        return f"two of the nets cannot be stacked: {error_message(error)}"
    return None


def _divide(plan: ReplicaPlan, groups: Sequence[PlannedGroup], workers: int) -> None:
    """Divide groups to their largest size, and further while workers are idle and parts have two jobs or more.

    The resulting groups, and jobs that remain single, are added to the plan.
    """
    parts = [-(-len(group.jobs) // group.largest) for group in groups]
    while sum(parts) + len(plan.single_jobs) < workers:
        divisible = [index for index, group in enumerate(groups) if len(group.jobs) // (parts[index] + 1) >= 2]
        if not divisible:
            break
        parts[max(divisible, key=lambda index: len(groups[index].jobs) / parts[index])] += 1
    for group, count in zip(groups, parts, strict=True):
        for jobs in _parts(group.jobs, count):
            if len(jobs) == 1:
                plan.single_jobs.append((jobs[0], "left over after dividing the jobs into groups of equal size"))
            else:
                plan.groups.append(replace(group, jobs=jobs))


def _parts(jobs: Sequence[Job], parts: int) -> list[Sequence[Job]]:
    """Split jobs, in order, into `parts` lists whose sizes differ by at most one."""
    edges = [len(jobs) * part // parts for part in range(parts + 1)]
    return [jobs[first:last] for first, last in pairwise(edges)]


def format_bytes(size: int) -> str:
    """Return a number of bytes as text with three digits and a decimal unit.

    Example:
        >>> format_bytes(3_210_000)
        '3.21 MB'
    """
    number, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.3g} {units[0]}"
