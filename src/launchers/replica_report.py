"""What a sweep of replicas says before it starts: its groups, and the jobs on their own."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from start_training.launchers.replica_plan import PlannedGroup, ReplicaPlan, shown_bytes
from start_training.runs.job import Job

WIDTH = 110  # columns, where no terminal says otherwise
SHOWN = 24  # groups that are named one by one


def show(plan: ReplicaPlan, *, inner: str, workers: int) -> None:
    """Print the plan: groups, what varies in each, their memory, the jobs on their own, and the sums."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=WIDTH)
    if plan.groups:
        console.print(_table(plan.groups))
    if len(plan.groups) > SHOWN:
        console.print(f"… and {len(plan.groups) - SHOWN} more groups")
    for reason, jobs in _by_reason(plan).items():
        several = f", and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        console.print(f"on its own: {jobs[0].name}{several} ({reason})", soft_wrap=True)
    console.print(_sums(plan, inner, workers), soft_wrap=True)


def _by_reason(plan: ReplicaPlan) -> dict[str, list[Job]]:
    found: dict[str, list[Job]] = defaultdict(list)
    for job, reason in plan.alone:
        found[reason].append(job)
    return found


def _table(groups: Sequence[PlannedGroup]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("group", justify="right", no_wrap=True)
    table.add_column("jobs", justify="right", no_wrap=True)
    table.add_column("net", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    common = _varied([job for group in groups for job in group.jobs])
    fixed = [_fixed(group.jobs, common) for group in groups[:SHOWN]]
    if any(fixed):
        table.add_column("all with")
    table.add_column("each its own")
    table.add_column("a replica", justify="right", no_wrap=True)
    table.add_column("together", justify="right", no_wrap=True)
    resumed = any(any(group.start) for group in groups)
    if resumed:
        table.add_column("from step", justify="right", no_wrap=True)
    for number, (group, shared) in enumerate(zip(groups, fixed, strict=False), 1):
        size = len(group.jobs)
        table.add_row(
            *(str(number), str(size), group.net, f"{group.parameters:,}", *([shared] if any(fixed) else [])),
            *(_own(group.jobs), shown_bytes(group.bytes), shown_bytes(size * group.bytes)),
            *([str(group.start[-1])] if resumed else []),
        )
    return table


def _varied(jobs: Sequence[Job]) -> dict[str, set[str]]:
    """The settings that are overridden in these jobs, and their values; those that are the same in all left out."""
    values: dict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for job in jobs:
        for override in job.overrides:
            key, _, value = override.partition("=")
            values[key].add(value)
            counts[key] += 1
    return {key: found for key, found in values.items() if len(found) > 1 or counts[key] < len(jobs)}


def _fixed(jobs: Sequence[Job], common: Mapping[str, set[str]]) -> str:
    """What the group has in common that other groups have otherwise."""
    own = _varied(jobs)
    return ", ".join(each for each in jobs[0].overrides if (key := each.partition("=")[0]) in common and key not in own)


def _own(jobs: Sequence[Job]) -> str:
    return ", ".join(f"{key.lstrip('+~')} ({len(values)})" for key, values in _varied(jobs).items())


def _sums(plan: ReplicaPlan, inner: str, workers: int) -> str:
    jobs = sum(len(group.jobs) for group in plan.groups)
    groups = f"{jobs} jobs in {len(plan.groups)} group{'s' if len(plan.groups) != 1 else ''}"
    largest = max((len(group.jobs) * group.bytes for group in plan.groups), default=0)
    memory = f", at most {shown_bytes(largest)}" if largest else ""
    memory += f" of {shown_bytes(plan.limit)}" if largest and plan.limit is not None else ""
    at_a_time = f", {workers} at a time" if workers > 1 else ""
    return f"replicas: {groups}{memory}, {len(plan.alone)} on their own; by {inner}{at_a_time}"
