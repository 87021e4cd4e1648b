"""The curves of a sweep as one long table: rows of every run's range test, or of its epochs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.runs.directory import RunDirectory
from src.runs.metrics_file import NAME as METRICS
from src.runs.metrics_file import read_metrics
from src.runs.sweep import read_jobs
from src.runs.sweep_table import override_settings, sweep_table
from src.settings import one_of

RANGE_TEST = "range_test"  # the table in a run directory, and what the summary calls its result


def sweep_curves(directory: Path, kind: str) -> pd.DataFrame:
    """The rows of each run's `range_test/` (kind range_test) or `metrics.csv` (epochs), one run below the other.

    Before them, the same in every row of a run: directory, name, status and seed; each setting that was overridden;
    varied: those settings, as text, that tell its configuration from others of the sweep, the seed aside;
    configuration: hash of all but the seed; depth. After them, of a range test, what the run's summary says of it:
    max_lr, min_lr, rule, …, missing where it has not ended. A run without rows is left out: what became of it
    `sweep_table` says. Empty where no run has any.
    Raises ValueError for another kind, and for a directory that holds no sweep.
    """
    read = _READ[one_of("kind", kind, _READ)]
    runs = sweep_table(directory)
    listed = {job.directory: job.overrides for job in read_jobs(directory)}
    names = runs["directory"]
    overrides = {name: listed.get(name) or _summary(directory / name).get("overrides", ()) for name in names}
    settings = list(dict.fromkeys(key for each in overrides.values() for key in override_settings(each)))
    facts = ["directory", "name", "status", "seed", *settings, "varied", "configuration", "depth"]
    runs["varied"] = [_varied(overrides, name) for name in names]
    runs = runs[[fact for fact in dict.fromkeys(facts) if fact in runs]]
    tables = [_with_facts(rows, run) for _, run in runs.iterrows() if len(rows := read(directory / run["directory"]))]
    return pd.concat(tables, ignore_index=True).astype(_kinds(runs)) if tables else runs[:0]


def _varied(overrides: Mapping[str, Sequence[str]], name: str) -> str:
    """Without what all runs have in common, and the seed."""
    known = [set(each) for each in overrides.values() if each]
    common = set.intersection(*known) if len(known) > 1 else set()
    own = [each for each in overrides[name] if each not in common and not each.lstrip("+").startswith("seed=")]
    return " ".join(own)


def _with_facts(rows: pd.DataFrame, run: "pd.Series[Any]") -> pd.DataFrame:
    rows = rows.drop(columns=[fact for fact in run.index if fact in rows])
    facts = pd.DataFrame({fact: [value] * len(rows) for fact, value in run.items()})
    return pd.concat([facts, rows.reset_index(drop=True)], axis=1)


def _kinds(runs: pd.DataFrame) -> dict[str, Any]:
    """Column types that a loop over rows has made objects of."""
    return {str(column): kind for column, kind in runs.dtypes.items() if kind != "object"}


def _range_test(run: Path) -> pd.DataFrame:
    """Read past `Table`, which would put in order what a running job is about to."""
    try:
        rows = pd.read_parquet(run / RANGE_TEST) if any((run / RANGE_TEST).glob("part-*.parquet")) else pd.DataFrame()
    except (OSError, ValueError):  # joined with others at this moment, or damaged
        return pd.DataFrame()
    said = _summary(run).get(RANGE_TEST) or {}
    plain = {key: value for key, value in said.items() if not isinstance(value, dict | list)}
    return rows.assign(**{key: np.nan if value is None else value for key, value in plain.items()})


def _epochs(run: Path) -> pd.DataFrame:
    try:
        return pd.DataFrame(list(read_metrics(run / METRICS).values()))
    except (OSError, ValueError, KeyError):  # damaged
        return pd.DataFrame()


def _summary(run: Path) -> dict[str, Any]:
    try:
        return RunDirectory(run).summary() or {}
    except (OSError, ValueError):  # begins again at this moment, or damaged
        return {}


_READ: dict[str, Callable[[Path], pd.DataFrame]] = {RANGE_TEST: _range_test, "epochs": _epochs}
