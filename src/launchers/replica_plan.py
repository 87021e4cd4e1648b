"""The plan of a sweep that trains its replicas together: which jobs in which group, which on their own, and why."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from start_training.config.build import build_datamodule, construct_net
from start_training.config.errors import error_message
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.launchers.grouping import alone, check_replicas, group_key
from start_training.replicas.caches import outgrows_caches
from start_training.replicas.checkpoint import start_of
from start_training.replicas.memory import optimizer_states, replica_bytes
from start_training.replicas.vectorized import NotVectorized, check_vectorized, draws_random_numbers
from start_training.runs.checkpoint import load_checkpoint
from start_training.runs.directory import RunDirectory
from start_training.runs.open_files import most_runs
from start_training.streams import global_stream_from

Start = tuple[int, int, int]  # where in its run a job begins: epochs, batches of the next one, optimizer steps


@dataclass(frozen=True)
class SweepRun:
    """A job of the sweep: as it was launched, and what it is: directory within the sweep's, overrides, plain config.

    mistake: what keeps it from being trained, which it says itself.
    """

    launched: Sequence[str]
    directory: str
    overrides: Sequence[str]
    config: Mapping[str, Any]
    mistake: str | None = None

    @property
    def name(self) -> str:
        """Its overrides, as a name."""
        return " ".join(self.overrides) or "default"


@dataclass(frozen=True)
class Group:
    """Jobs that train together, from the same place in their runs."""

    jobs: Sequence[SweepRun]
    start: Start
    parameters: int
    bytes: int  # that one replica takes

    @property
    def net(self) -> str:
        """The class that the net is of."""
        return str(self.jobs[0].config["model"]["_target_"]).rpartition(".")[2]


@dataclass
class Plan:
    """What is trained together, and what is not."""

    limit: int | None = None  # bytes that all replicas of a group may take; None: not known
    groups: list[Group] = field(default_factory=list)
    alone: list[tuple[SweepRun, str]] = field(default_factory=list)  # with the reason

    @property
    def units(self) -> int:
        """What there is to hand out."""
        return len(self.groups) + len(self.alone)


class _Shaped(NamedTuple):
    """All jobs of equal shapes that start at one place, and how many replicas a group of them may have."""

    jobs: Sequence[SweepRun]
    start: Start
    parameters: int
    bytes: int
    most: int


def plan(
    jobs: Sequence[SweepRun], sweep: Path, *, limit: int | None = None, workers: int = 1, max_size: int | None = None
) -> Plan:
    """Group the jobs of a sweep by shapes and by where they start, in groups that memory holds.

    limit: bytes that a group may take; None: not known here. workers: how many groups train at a time; where there
    are fewer, the largest are divided. max_size: replicas in a group at most.
    Raises ValueError for jobs that the user should not have asked to train as replicas.
    """
    for job in jobs:
        check_replicas(job.config)
    found = Plan(limit)
    together = _together(jobs, sweep, found)
    shaped = [each for start, group in together for each in _measured(found, group, start, max_size)]
    _divide(found, shaped, workers)
    return found


def _together(jobs: Sequence[SweepRun], sweep: Path, plan: Plan) -> list[tuple[Start, list[SweepRun]]]:
    """The jobs that may train together; the others go on the plan, with the reason."""
    groups: dict[tuple[str, Start], list[SweepRun]] = defaultdict(list)
    for job in jobs:
        reason = job.mistake or alone(job.config)
        if reason is None:
            try:
                groups[group_key(job.config), _start(sweep / job.directory)].append(job)
            except ValueError as error:  # a damaged checkpoint, as the job will say
                reason = str(error)
        if reason is not None:
            plan.alone.append((job, reason))
    return [(start, together) for (_, start), together in groups.items()]


def _start(directory: Path) -> Start:
    run = RunDirectory(directory)
    return start_of(load_checkpoint(run.checkpoint) if run.resumable else None)


def _measured(plan: Plan, jobs: Sequence[SweepRun], start: Start, max_size: int | None) -> Iterator[_Shaped]:
    """What jobs of equal shapes take; none of jobs that go on the plan on their own, with the reason."""
    jobs = sorted(jobs, key=lambda job: optimizer_states(job.config))
    built = _built(jobs, plan) if len(jobs) > 1 else None
    if built is None or len(jobs) < 2:
        plan.alone += [(job, "no other job has its shapes and stands where it does") for job in jobs]
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
    yield _Shaped(jobs, start, sum(each.numel() for each in net.parameters()), size, most)


def _built(jobs: list[SweepRun], plan: Plan) -> tuple[TensorDataModule, nn.Module] | None:
    """Data and net of the last job; those of which no net can be built go on the plan, as the jobs will say."""
    while jobs:
        try:
            with torch.random.fork_rng(devices=[]):
                datamodule = build_datamodule(jobs[-1].config)
                return datamodule, construct_net(jobs[-1].config, datamodule)
        except ValueError as error:
            plan.alone.append((jobs.pop(), str(error)))
    return None


def _apart(
    jobs: Sequence[SweepRun], config: Mapping[str, Any], net: nn.Module, datamodule: TensorDataModule
) -> str | None:
    """Why nets of these jobs train apart, found by trying two of them; None where they need not.

    Raises NotVectorized where the user should not have asked.
    """
    if config["trainer"].get("accelerator") == "cpu" and outgrows_caches(net):
        return "on a CPU, weights of this size gain nothing from company"
    if draws_random_numbers(net, datamodule.input_shape):
        return "its net draws random numbers (dropout), which are each run's own"
    scaled = next((job.config for job in jobs if job.config["model"] != config["model"]), config)
    try:
        # Of a seed of its own: numbers that a module draws for itself are to differ, too.
        with global_stream_from(torch.Generator().manual_seed(1)):
            other = construct_net(scaled, datamodule)
        check_vectorized(net, datamodule.input_shape, other=other)
    except NotVectorized:
        raise
    except Exception as error:  # whatever a module of the user's raises
        return f"two of its nets together: {error_message(error)}"
    return None


def _divide(plan: Plan, shaped: Sequence[_Shaped], workers: int) -> None:
    """Into groups that are not too large, and as many as there are workers where pairs allow it."""
    parts = [-(-len(each.jobs) // each.most) for each in shaped]
    while sum(parts) + len(plan.alone) < workers:
        sizes = [len(each.jobs) / count for each, count in zip(shaped, parts, strict=True)]
        able = [place for place, each in enumerate(shaped) if len(each.jobs) // (parts[place] + 1) >= 2]
        if not able:
            break
        parts[max(able, key=lambda place: sizes[place])] += 1
    for each, count in zip(shaped, parts, strict=True):
        for jobs in _parts(each.jobs, count):
            if len(jobs) == 1:
                plan.alone.append((jobs[0], "left over by groups of equal size"))
            else:
                plan.groups.append(Group(jobs, each.start, each.parameters, each.bytes))


def _parts(jobs: Sequence[SweepRun], parts: int) -> list[Sequence[SweepRun]]:
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
