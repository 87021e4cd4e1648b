"""Print the plan of the replicas launcher: its groups, and the jobs that train on their own."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.table import Table

from start_training.launchers.replica_plan import PlannedGroup, ReplicaPlan, format_bytes
from start_training.reports.terminal import print_lines, print_table, wide_console
from start_training.runs.job import Job

SHOWN = 24  # number of groups in the table


def print_plan(plan: ReplicaPlan, *, inner: str, workers: int) -> None:
    """Print the plan: a table of groups with their varying settings and memory, the single jobs, and the totals.

    Args:
        plan: the plan.
        inner: name of the inner launcher.
        workers: how many groups train at a time.
    """
    if plan.groups:
        print_table(_table(plan.groups), wide_console())
    if len(plan.groups) > SHOWN:
        print_lines(f"… and {len(plan.groups) - SHOWN} more groups")
    reasons: dict[str, list[Job]] = defaultdict(list)
    for job, reason in plan.single_jobs:
        reasons[reason].append(job)
    for reason, jobs in reasons.items():
        several = f", and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        print_lines(f"trains on its own: {jobs[0].name}{several} ({reason})")
    print_lines(_totals(plan, inner, workers))


def _table(groups: Sequence[PlannedGroup]) -> Table:
    varied = _varied([job for group in groups for job in group.jobs])
    resumed = any(any(group.start) for group in groups)
    rows = [
        {
            "group": str(number),
            "jobs": str(len(group.jobs)),
            "net": group.net,
            "parameters": f"{group.parameters:,}",
            "shared": _shared_overrides(group.jobs, varied),
            "varied (values)": ", ".join(
                f"{key.lstrip('+~')} ({len(values)})" for key, values in _varied(group.jobs).items()
            ),
            "per\nreplica": format_bytes(group.bytes),
            "per\ngroup": format_bytes(len(group.jobs) * group.bytes),
            "from\nstep": str(group.start[-1]) if resumed else "",
        }
        for number, group in enumerate(groups[:SHOWN], 1)
    ]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    for name in columns:
        words = name in ("shared", "varied (values)")
        table.add_column(name, justify="left" if words or name == "net" else "right", no_wrap=not words)
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    return table


def _varied(jobs: Sequence[Job]) -> dict[str, set[str]]:
    """Return the overridden settings that differ between these jobs, each with the set of its values."""
    values: dict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for job in jobs:
        for override in job.overrides:
            key, _, value = override.partition("=")
            values[key].add(value)
            counts[key] += 1
    return {key: chosen for key, chosen in values.items() if len(chosen) > 1 or counts[key] < len(jobs)}


def _shared_overrides(jobs: Sequence[Job], varied: Mapping[str, set[str]]) -> str:
    """Return the overrides that are equal within this group but vary between groups, comma-separated."""
    keys = varied.keys() - _varied(jobs).keys()
    return ", ".join(override for override in jobs[0].overrides if override.partition("=")[0] in keys)


def _totals(plan: ReplicaPlan, inner: str, workers: int) -> str:
    jobs = sum(len(group.jobs) for group in plan.groups)
    groups = f"{jobs} jobs in {len(plan.groups)} group{'s' if len(plan.groups) != 1 else ''}"
    largest = max((len(group.jobs) * group.bytes for group in plan.groups), default=0)
    memory = f", at most {format_bytes(largest)} per group" if largest else ""
    memory += f" (limit {format_bytes(plan.limit)})" if largest and plan.limit is not None else ""
    at_a_time = f", {workers} at a time" if workers > 1 else ""
    single = f"{len(plan.single_jobs)} jobs on their own"
    return f"replicas: {groups}{memory}; {single}; launched by hydra/launcher={inner}{at_a_time}"
