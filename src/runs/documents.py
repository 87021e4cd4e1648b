"""Read and check the documents of a run or sweep: config.yaml, summary.json, jobs.json."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from start_training.files.damaged_file import DamagedFile, named_if_damaged, require
from start_training.runs.trust import check_plain

FINISHED = ("completed", "diverged")
STATUSES = (*FINISHED, "interrupted", "failed")  # in summary.json
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's loader, if available, is ten times as fast
_GROUPS = ("model", "initializer", "datamodule", "optimizer", "trainer")
_NUMBERS = ("steps", "epochs", "seconds", "seed")
_TEXTS = ("reason", "config_hash")
_RESULTS = ("start_of_training", "range_test", "phase", "clues", "versions")  # entries that are read as dictionaries


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.yaml.

    Raises:
        DamagedFile: it is not the config of a run, or it was cut off.
    """
    with named_if_damaged(path):
        text = path.read_text()
        config = yaml.load(text, _LOADER)
        require(isinstance(config, dict) and "seed" in config, "not the config of a run, which has a key seed")
        require(text.endswith("\n"), "cut off: it does not end with a line break")
        require(all(isinstance(key, str) for key in config), "not the config of a run: a key is not text")
        check_plain(config, "it")
        for group in _GROUPS:
            _check_type(config, group, dict)
    return dict(config)


def read_summary(path: Path) -> dict[str, Any] | None:
    """Read a summary.json; None if it does not exist.

    Raises:
        DamagedFile: it is not the summary of a run.
    """
    try:
        with named_if_damaged(path):
            summary = json.loads(path.read_text())
            require(isinstance(summary, dict), "not a JSON object")
            status = summary.get("status")
            require(status in STATUSES, f"status is {status!r}, not one of {', '.join(STATUSES)}")
            check_entries(summary)
    except FileNotFoundError:
        return None
    return dict(summary)


def check_entries(summary: Mapping[str, Any]) -> None:
    """Raise ValueError if an entry of a summary, if it is there and not null, is not of the type that it should be."""
    for names, kind in ((_NUMBERS, (int, float)), (_TEXTS, str), (_RESULTS, dict), (("metrics",), dict)):
        for name in names:
            _check_type(summary, name, kind)
    _check_type(summary, "overrides", list)
    for name, value in (summary.get("metrics") or {}).items():
        require(value is None or _is_number(value), f"the metric {name} is {value!r}, not a number")
    require(all(isinstance(word, str) for word in summary.get("overrides") or ()), "an override is not text")


def with_entries(path: Path, entries: Mapping[str, Any] | None, *names: str) -> Mapping[str, Any]:
    """Return entries of the summary at `path`, or raise `DamagedFile` if one of these is missing."""
    if missing := [name for name in names if name not in (entries or {})]:
        raise DamagedFile(path, f"it lacks {', '.join(missing)}")
    return entries or {}


def read_job_list(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a jobs.json: overrides by run directory; empty if the file does not exist.

    Raises:
        DamagedFile: it is not the list of a sweep's jobs.
    """
    jobs: dict[str, tuple[str, ...]] = {}
    try:
        with named_if_damaged(path):
            content = json.loads(path.read_text())
            listed = content.get("jobs") if isinstance(content, dict) else None
            require(isinstance(listed, list), "not an object with a list named jobs")
            for job in listed or ():
                require(
                    isinstance(job, dict)
                    and isinstance(job.get("directory"), str)
                    and isinstance(job.get("overrides"), list)
                    and all(isinstance(word, str) for word in job["overrides"]),
                    f"{job!r} is not a job with a directory and a list of overrides",
                )
                jobs[job["directory"]] = tuple(job["overrides"])
    except FileNotFoundError:
        return {}
    return jobs


def read_csv(path: Path, columns: Sequence[str], **options: Any) -> pd.DataFrame:
    """Read a table that a study has written as CSV, with options of `pandas.read_csv`.

    Raises:
        DamagedFile: it is missing or damaged, or lacks one of the columns.
    """
    try:
        with named_if_damaged(path):
            table = pd.read_csv(path, **options)
            missing = [column for column in columns if column not in table]
            require(not missing, f"it has no column {', '.join(missing)}")
            return table
    except FileNotFoundError as error:
        raise DamagedFile(path, "missing, although the job has finished") from error


def finite(value: Any) -> Any:
    """Return plain data (dicts, lists, numbers, …) with NaN and infinity replaced by None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_type(content: Mapping[str, Any], name: str, kind: Any) -> None:
    value = content.get(name)
    right = value is None or (isinstance(value, kind) and not isinstance(value, bool))
    require(right, f"{name} has the wrong type, {type(value).__name__}")
