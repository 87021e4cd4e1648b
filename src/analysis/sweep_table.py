"""A sweep as a table with one row for each job, including jobs that failed, diverged or have not begun."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from start_training.analysis.architecture import depth_and_beta
from start_training.files.damaged_file import DamagedFile
from start_training.runs.config_hash import config_hash
from start_training.runs.directory import FINISHED, RunDirectory
from start_training.runs.sweep_jobs import NAME as JOBS
from start_training.runs.sweep_jobs import read_jobs
from start_training.runs.table import read_first_part

_WHOLE = ("seed", "start_epoch", "start_step", "observed_epoch", "max_epochs", "depth", "steps", "epochs")
_INITIAL = ("step", "growth_rate", "layer_variance", "relative_layer_variance", "first_nonfinite_layer")


def sweep_table(
    directory: Path, damaged: dict[str, DamagedFile] | None = None, *, trust: Collection[str] = ()
) -> pd.DataFrame:
    """Collect the jobs of a sweep: those with a run directory and those listed in jobs.json.

    Args:
        directory: Directory of the sweep.
        damaged: Filled with the damaged file of each job whose status is damaged, by its directory, and with jobs.json
            if that is damaged; then the jobs with a run directory are collected.
        trust: Packages of the user that the configs of the runs may name.

    Returns:
        One row for each job. Columns:
        directory; name: The overrides; status: completed, diverged, interrupted, failed, running, killed, damaged or
            absent; reason: Why the run ended.
        Each setting that was overridden; seed; configuration: Hash of the config without the seed.
        start_epoch, start_step: When training started; started: False for a run that ended before it started, missing
            if that is not known; observed_epoch: start_epoch, or the maximum number of epochs, at which a run that
            never started is censored (also one that diverged); max_epochs, start_metric, start_threshold.
        depth: Number of measured layers; beta: Σ 1/n_j, NaN for a net without `widths`.
        growth_rate (nats per layer; inf if a length overflowed), layer_variance, relative_layer_variance: Measured at
            initialization, NaN if not recorded; log_growth: depth × |growth_rate|.
        The final metrics; steps, epochs, seconds, config_hash.

    Raises:
        DamagedFile: jobs.json is damaged, and `damaged` is None.
        ValueError: the directory does not exist or holds no run, or the config of a run names what must not be imported
            (`start_training.runs.trust`).
    """
    if not directory.is_dir():
        raise ValueError(f"SWEEP_DIRECTORY = {directory}: no such directory")
    damaged, given = ({}, None) if damaged is None else (damaged, damaged)
    listed = listed_jobs(directory, given)
    existing = [path.parent.name for path in sorted(directory.glob("*/config.yaml"))]
    if not existing and not listed:
        raise ValueError(
            f"SWEEP_DIRECTORY = {directory}: holds no runs (no */config.yaml); give the hydra.sweep.dir of a multirun"
        )
    rows = [_row(directory, name, listed.get(name), damaged, trust) for name in dict.fromkeys([*listed, *existing])]
    columns = dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row)
    return _typed(pd.DataFrame(rows, columns=list(columns)))


def override_settings(overrides: Sequence[str]) -> dict[str, str]:
    """Split overrides `key=value` into a dictionary; a leading `+` and overrides without a value are dropped.

    Example:
        >>> override_settings(["depth=5", "+model.width=8", "~schedule"])
        {'depth': '5', 'model.width': '8'}
    """
    return dict(override.lstrip("+").split("=", 1) for override in overrides if "=" in override)


def listed_jobs(directory: Path, damaged: dict[str, DamagedFile] | None) -> Mapping[str, Sequence[str]]:
    """Return the overrides by directory that jobs.json lists; if it is damaged, add it to `damaged`, or raise."""
    try:
        return read_jobs(directory)
    except DamagedFile as error:
        if damaged is None:
            raise
        damaged[JOBS] = error
        return {}


def _row(
    directory: Path,
    name: str,
    overrides: Sequence[str] | None,
    damaged: dict[str, DamagedFile],
    trust: Collection[str],
) -> dict[str, Any]:
    run = RunDirectory(directory / name)
    row: dict[str, Any] = {"directory": name, "name": "", "status": "absent", "reason": ""}
    config, summary, initial = None, dict[str, Any](), dict[str, Any]()
    try:
        row["status"] = run.state
        summary = run.summary() or {}
        if os.path.lexists(run.config_file):
            config, initial = run.config("directory", trust), _at_initialization(run)
    except DamagedFile as error:
        damaged[name], config = error, None
        row |= {"status": "damaged", "reason": str(error)}
    overrides = summary.get("overrides", ()) if overrides is None else overrides
    row |= {"reason": row["reason"] or summary.get("reason", ""), **override_settings(overrides)}
    row["name"] = " ".join(overrides) or name
    if config is not None:
        row |= {"seed": config.get("seed"), "configuration": config_hash(_without_seeds(config))}
        row |= _start(config, summary) | _net(config, initial) | (summary.get("metrics") or {})
        row |= {key: summary.get(key) for key in ("steps", "epochs", "seconds", "config_hash")}
    return row


def _without_seeds(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_seeds(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key != "seed"
    }


def _start(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    start = summary.get("start_of_training") or {}
    maximum = (config.get("trainer") or {}).get("max_epochs")
    if not isinstance(maximum, int) or maximum < 1:  # not limited: the run ended by another rule
        maximum = summary.get("epochs")
    never = start and start.get("epoch") is None and summary["status"] in FINISHED
    started = False if never else True if start.get("epoch") is not None else None
    return {
        "start_epoch": start.get("epoch"),
        "start_step": start.get("step"),
        "started": started,
        "observed_epoch": maximum if started is False else start.get("epoch"),
        "max_epochs": maximum,
        "start_metric": start.get("metric"),
        "start_threshold": start.get("threshold"),
    }


def _net(config: Mapping[str, Any], initial: Mapping[str, Any]) -> dict[str, Any]:
    depth, beta = depth_and_beta(config)
    overflowed = pd.notna(initial.get("first_nonfinite_layer"))
    measured = {
        "growth_rate": np.inf if overflowed else initial.get("growth_rate", np.nan),
        "layer_variance": initial.get("layer_variance", np.nan),
        "relative_layer_variance": initial.get("relative_layer_variance", np.nan),
    }
    size = np.nan if depth is None else depth
    return {"depth": depth, "beta": beta, **measured, "log_growth": size * abs(measured["growth_rate"])}


def _at_initialization(run: RunDirectory) -> dict[str, Any]:
    """Read the row of step 0 from `steps/`; empty if it is missing."""
    rows = read_first_part(run.path / "steps", columns=_INITIAL)
    first = pd.DataFrame() if rows is None or "step" not in rows else rows[rows["step"] == 0]
    return dict(first.iloc[0]) if len(first) else {}


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Convert columns of numbers to Int64 or float64.

    Overrides are text, and a missing value turns a whole column into objects.
    """
    for column in table.columns.difference(["directory", "name", "configuration", "config_hash", "status", "reason"]):
        numbers = pd.to_numeric(table[column], errors="coerce")
        if column != "started" and (numbers.notna() | table[column].isna()).all():
            whole = not pd.api.types.is_float_dtype(table[column]) and (numbers.dropna() % 1 == 0).all()
            table[column] = numbers.astype("Int64" if whole else "float64")
    for column in _WHOLE:
        if column in table and pd.api.types.is_float_dtype(table[column]):
            table[column] = table[column].astype("Int64")
    if "started" not in table:  # no job has begun
        table["started"] = None
    table["started"] = table["started"].astype("boolean")
    return table
