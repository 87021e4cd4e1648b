"""The plan of a sweep of replicas on the terminal: its groups, and the jobs on their own."""

import sys
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
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    if plan.groups:
        console.print(_table(plan.groups))
    if len(plan.groups) > SHOWN:
        console.print(f"… and {len(plan.groups) - SHOWN} more groups")
    reasons: dict[str, list[Job]] = defaultdict(list)
    for job, reason in plan.alone:
        reasons[reason].append(job)
    for reason, jobs in reasons.items():
        several = f", and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        console.print(f"on its own: {jobs[0].name}{several} ({reason})", soft_wrap=True)
    console.print(_sums(plan, inner, workers), soft_wrap=True)


def _table(groups: Sequence[PlannedGroup]) -> Table:
    varied = _varied([job for group in groups for job in group.jobs])
    resumed = any(any(group.start) for group in groups)
    rows = [
        {
            "group": str(number),
            "jobs": str(len(group.jobs)),
            "net": group.net,
            "parameters": f"{group.parameters:,}",
            "all with": _same_in_all(group.jobs, varied),
            "each its own": ", ".join(f"{key.lstrip('+~')} ({len(has)})" for key, has in _varied(group.jobs).items()),
            "a replica": shown_bytes(group.bytes),
            "together": shown_bytes(len(group.jobs) * group.bytes),
            "from step": str(group.start[-1]) if resumed else "",
        }
        for number, group in enumerate(groups[:SHOWN], 1)
    ]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    for name in columns:
        words = name in ("all with", "each its own")
        table.add_column(name, justify="left" if words or name == "net" else "right", no_wrap=not words)
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    return table


def _varied(jobs: Sequence[Job]) -> dict[str, set[str]]:
    """The overridden settings that differ between these jobs, and their values."""
    values: dict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for job in jobs:
        for override in job.overrides:
            key, _, value = override.partition("=")
            values[key].add(value)
            counts[key] += 1
    return {key: has for key, has in values.items() if len(has) > 1 or counts[key] < len(jobs)}


def _same_in_all(jobs: Sequence[Job], varied: Mapping[str, set[str]]) -> str:
    """Overrides that all jobs of a group share, of settings that vary between groups."""
    of_group = _varied(jobs)
    keys = varied.keys() - of_group.keys()
    return ", ".join(override for override in jobs[0].overrides if override.partition("=")[0] in keys)


def _sums(plan: ReplicaPlan, inner: str, workers: int) -> str:
    jobs = sum(len(group.jobs) for group in plan.groups)
    groups = f"{jobs} jobs in {len(plan.groups)} group{'s' if len(plan.groups) != 1 else ''}"
    largest = max((len(group.jobs) * group.bytes for group in plan.groups), default=0)
    memory = f", at most {shown_bytes(largest)}" if largest else ""
    memory += f" of {shown_bytes(plan.limit)}" if largest and plan.limit is not None else ""
    at_a_time = f", {workers} at a time" if workers > 1 else ""
    return f"replicas: {groups}{memory}, {len(plan.alone)} on their own; by {inner}{at_a_time}"
