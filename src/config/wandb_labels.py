"""What W&B's server knows of a run before it starts: its name, group, job type, tags, and facts to filter by."""

from collections.abc import Mapping
from typing import Any

from start_training.files.damaged_file import DamagedFile
from start_training.runs.config_hash import config_hash, result_settings
from start_training.runs.job import Job
from start_training.runs.provenance import commit
from start_training.runs.short_name import group_name, short_name
from start_training.runs.sweep_jobs import read_jobs

NAME, TAG = 128, 64  # bytes that W&B's server allows in the name of a run or group, and in a tag or job type


def wandb_labels(job: Job, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `wandb.init`, all cut to the length that W&B's server allows.

    Args:
        job: The job.
        node: The settings of its W&B logger, of which `name`, `group` and `job_type` precede; `tags` are added.
    Returns:
        name: What distinguishes the job from others of its sweep. group: The sweep. job_type: The command. tags: Net,
        initializer and data. config: The same three, config_hash and commit, beside the settings of the job.
    """
    labels = {"name": short_name(str(node.get("name") or distinct_name(job)), NAME)}
    if group := node.get("group") or job.sweep:
        labels["group"] = group_name(str(group), NAME)
    labels["job_type"] = short_name(str(node.get("job_type") or job.kind), TAG)
    given = node.get("tags") or []
    tags = [*job.labels.values(), *([given] if isinstance(given, str) else given)]
    named = [short_name(str(tag), TAG) for tag in tags if str(tag).strip()]
    return {**labels, "tags": list(dict.fromkeys(named)), "config": _facts(job)}


def distinct_name(job: Job) -> str:
    """Return the overrides in which a job differs from others of its sweep; on its own, all that change its result.

    Example:
        >>> from pathlib import Path
        >>> distinct_name(Job({}, Path("run"), ["seed=1", "logger.wandb.mode=online", "trainer.max_epochs=2"]))
        'seed=1 trainer.max_epochs=2'
    """
    try:
        jobs = read_jobs(job.directory.parent) if job.sweep else {}
    except DamagedFile:  # the sweep itself says so
        jobs = {}
    common = set.intersection(*map(set, jobs.values())) if len(jobs) > 1 else set()
    return " ".join(word for word in job.overrides if word not in common and _matters(word)) or job.name


def _matters(override: str) -> bool:
    group, _, key = override.lstrip("+~").partition("=")[0].partition(".")
    return any(result_settings({group: {key: None} if key else "chosen"}).values())


def _facts(job: Job) -> dict[str, Any]:
    chosen = {"net": "net", "initializer": "initialization", "data": "data"}  # `initializer` is a group of the config
    facts: dict[str, Any] = {chosen[key]: label for key, label in job.labels.items() if label}
    if "seed" in job.config:
        facts |= {"config_hash": config_hash(job.config), "commit": commit()}
    return facts
