"""The plan of a sweep of replicas: which jobs train in which group, which on their own, and why."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from start_training.config.build import build_datamodule, construct_net
from start_training.config.errors import error_message
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.launchers.grouping import alone, check_replicas, group_key
from start_training.replicas.forward_pass import NotVectorized, check_vectorized, draws_random_numbers
from start_training.replicas.group_checkpoint import start_of
from start_training.replicas.memory import optimizer_states, outgrows_caches, replica_bytes
from start_training.runs.checkpoint import load_newest
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.open_files import most_runs
from start_training.streams import isolate_random_streams

Start = tuple[int, int, int]  # where in its run a job begins: epochs, batches of the next one, optimizer steps


@dataclass(frozen=True)
class PlannedGroup:
    """Jobs that train together, from the same place in their runs."""

    jobs: Sequence[Job]
    start: Start
    parameters: int
    bytes: int  # that one replica takes
    largest: int  # number of jobs that one group of these may have

    @property
    def net(self) -> str:
        """The class that the net is of."""
        return str(self.jobs[0].config["model"]["_target_"]).rpartition(".")[2]


@dataclass
class ReplicaPlan:
    """The jobs that train together, and those that train on their own."""

    limit: int | None = None  # bytes that all replicas of a group may take; None: not known
    groups: list[PlannedGroup] = field(default_factory=list)
    alone: list[tuple[Job, str]] = field(default_factory=list)  # with the reason


def plan(
    jobs: Sequence[Job], *, limit: int | None = None, workers: int = 1, max_size: int | None = None
) -> ReplicaPlan:
    """Group the jobs of a sweep by the shapes of their tensors and by where they start.

    Args:
        jobs: each with a directory of its own.
        limit: bytes that a group may take; None: not known here.
        workers: how many groups train at a time; where there are fewer groups, the largest are divided.
        max_size: replicas in a group at most; None: as many as memory holds.

    Raises:
        ValueError: a job has a setting that cannot be trained as replicas.
    """
    for job in jobs:
        check_replicas(job.config)
    planned = ReplicaPlan(limit)
    together = _together(jobs, planned)
    groups = [group for start, alike in together for group in _measured(planned, alike, start, max_size)]
    _divide(planned, groups, workers)
    return planned


def _together(jobs: Sequence[Job], plan: ReplicaPlan) -> list[tuple[Start, list[Job]]]:
    """The jobs that may train together; the others go on the plan, with the reason."""
    groups: dict[tuple[str, Start], list[Job]] = defaultdict(list)
    for job in jobs:
        try:
            if (reason := alone(job.config)) is None:
                groups[group_key(job.config), _start(job.directory)].append(job)
        except ValueError as error:  # a damaged checkpoint, which the job will report
            reason = str(error)
        if reason is not None:
            plan.alone.append((job, reason))
    return [(start, together) for (_, start), together in groups.items()]


def _start(directory: Path) -> Start:
    newest = load_newest(RunDirectory(directory))
    return start_of(newest[1] if newest else None)


def _measured(plan: ReplicaPlan, jobs: Sequence[Job], start: Start, max_size: int | None) -> Iterator[PlannedGroup]:
    """The group of jobs of equal shapes, with the memory of a replica; nothing where they go on the plan alone."""
    jobs = sorted(jobs, key=lambda job: optimizer_states(job.config))
    built = _built(jobs, plan) if len(jobs) > 1 else None
    if built is None or len(jobs) < 2:
        plan.alone += [(job, "no other job has its shapes and is at the same step") for job in jobs]
        return
    config, (datamodule, net) = jobs[-1].config, built
    if (reason := _apart(jobs, config, net, datamodule)) is not None:
        plan.alone += [(job, reason) for job in jobs]
        return
    size = replica_bytes(config, net, datamodule)
    limits = [max_size, None if plan.limit is None else plan.limit // size, most_runs()]
    most = min([len(jobs), *(limit for limit in limits if limit is not None)])
    if most < 2:
        why = "max_size = 1" if max_size == 1 else f"two replicas would take {shown_bytes(2 * size)}"
        plan.alone += [(job, why) for job in jobs]
        return
    yield PlannedGroup(jobs, start, sum(weight.numel() for weight in net.parameters()), size, most)


def _built(jobs: list[Job], plan: ReplicaPlan) -> tuple[TensorDataModule, nn.Module] | None:
    """Data and net of the last job of which a net can be built; the others go on the plan alone, with the error."""
    while jobs:
        try:
            with isolate_random_streams():
                datamodule = build_datamodule(jobs[-1].config)
                return datamodule, construct_net(jobs[-1].config, datamodule)
        except ValueError as error:
            plan.alone.append((jobs.pop(), str(error)))
    return None


def _apart(jobs: Sequence[Job], config: Mapping[str, Any], net: nn.Module, datamodule: TensorDataModule) -> str | None:
    """Why the nets of these jobs train on their own, found by trying two of them; None where they can be stacked.

    Raises NotVectorized where the net cannot be vectorized at all.
    """
    if config["trainer"].get("accelerator") == "cpu" and outgrows_caches(net):
        return "on a CPU, weights of this size train no faster in a group"
    if draws_random_numbers(net, datamodule.input_shape):
        return "its net draws random numbers (dropout), which are each run's own"
    scaled = next((job.config for job in jobs if job.config["model"] != config["model"]), config)
    try:
        # Of a seed of its own: numbers that a module draws for itself are to differ, too.
        with isolate_random_streams(torch.Generator().manual_seed(1)):
            other = construct_net(scaled, datamodule)
        check_vectorized(net, datamodule.input_shape, other=other)
    except NotVectorized:
        raise
    except Exception as error:  # whatever a module of the user's raises
        return f"two of its nets together: {error_message(error)}"
    return None


def _divide(plan: ReplicaPlan, groups: Sequence[PlannedGroup], workers: int) -> None:
    """Into groups that are not too large, and as many as there are workers where pairs allow it."""
    parts = [-(-len(group.jobs) // group.largest) for group in groups]
    while sum(parts) + len(plan.alone) < workers:
        divisible = [index for index, group in enumerate(groups) if len(group.jobs) // (parts[index] + 1) >= 2]
        if not divisible:
            break
        parts[max(divisible, key=lambda index: len(groups[index].jobs) / parts[index])] += 1
    for group, count in zip(groups, parts, strict=True):
        for jobs in _parts(group.jobs, count):
            if len(jobs) == 1:
                plan.alone.append((jobs[0], "left over by groups of equal size"))
            else:
                plan.groups.append(replace(group, jobs=jobs))


def _parts(jobs: Sequence[Job], parts: int) -> list[Sequence[Job]]:
    """So many parts, in order, whose sizes differ by one at most."""
    edges = [len(jobs) * part // parts for part in range(parts + 1)]
    return [jobs[first:last] for first, last in pairwise(edges)]


def shown_bytes(size: int) -> str:
    """Three digits and a unit."""
    number, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.3g} {units[0]}"
