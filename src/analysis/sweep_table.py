"""A sweep as one tidy table: a row for each job, whatever became of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from start_training.analysis.architecture import depth_and_beta
from start_training.runs.config_hash import config_hash
from start_training.runs.directory import FINISHED, RunDirectory
from start_training.runs.sweep_jobs import NAME as JOBS
from start_training.runs.sweep_jobs import read_jobs

_WHOLE = ("seed", "start_epoch", "start_step", "observed_epoch", "max_epochs", "depth", "steps", "epochs")


def sweep_table(directory: Path) -> pd.DataFrame:
    """A row for each job that lies in a directory or that its jobs.json lists.

    directory; name: its overrides; status: completed, diverged, interrupted, failed, running, killed, damaged or
    absent, and reason; each setting that was overridden; seed; configuration: hash of all that determines the
    result but the seed.
    start_epoch, start_step, started: True, False for a run that ended without, missing where nobody knows yet;
    observed_epoch: start_epoch, or the maximum at which a run that never started is censored (one that diverged
    would never have). depth: measured layers; beta: Σ 1/n_j, NaN where the net has no such widths.
    growth_rate (nats per layer; inf where a length overflowed), layer_variance, relative_layer_variance: of
    initialization, NaN where not recorded; log_growth: depth × |growth_rate|. Then the final metrics.

    Args:
        directory: Of the sweep.

    Raises:
        ValueError: there is no such directory, or no run in it.
    """
    if not directory.is_dir():
        raise ValueError(f"SWEEP_DIRECTORY = {directory}: no such directory")
    listed = _listed(directory)
    existing = [path.parent.name for path in sorted(directory.glob("*/config.yaml"))]
    if not existing and not listed:
        raise ValueError(f"SWEEP_DIRECTORY = {directory}: holds no runs (no */config.yaml)")
    rows = [_row(directory, name, listed.get(name)) for name in dict.fromkeys([*listed, *existing])]
    columns = dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row)
    return _typed(pd.DataFrame(rows, columns=list(columns)))


def override_settings(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as columns: the value of each key."""
    return dict(override.lstrip("+").split("=", 1) for override in overrides if "=" in override)


def _listed(directory: Path) -> dict[str, Sequence[str]]:
    try:
        return {job.directory: job.overrides for job in read_jobs(directory)}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"SWEEP_DIRECTORY = {directory}: its {JOBS} is damaged ({error})") from error


def _row(directory: Path, name: str, overrides: Sequence[str] | None) -> dict[str, Any]:
    run = RunDirectory(directory / name)
    row: dict[str, Any] = {"directory": name, "name": "", "status": "absent", "reason": ""}
    try:
        row["status"] = run.state
        config = run.config("directory") if run.config_file.exists() else None
        summary = _summary(run) or {}
    except ValueError as error:
        config, summary = None, {}
        row |= {"status": "damaged", "reason": str(error)}
    overrides = summary.get("overrides", ()) if overrides is None else overrides
    row |= {"reason": summary.get("reason", row["reason"]), **override_settings(overrides)}
    row["name"] = " ".join(overrides) or name
    if config is not None:
        row |= {"seed": config.get("seed"), "configuration": config_hash(_without_seeds(config))}
        row |= _start(config, summary) | _net(config, run) | (summary.get("metrics") or {})
        row |= {key: summary.get(key) for key in ("steps", "epochs", "seconds", "config_hash")}
    return row


def _summary(run: RunDirectory) -> dict[str, Any] | None:
    try:
        return run.summary()
    except FileNotFoundError:  # a run that begins again has removed it in between
        return None


def _without_seeds(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_seeds(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key != "seed"
    }


def _start(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    start = summary.get("start_of_training") or {}
    maximum = (config.get("trainer") or {}).get("max_epochs")
    if maximum is None or maximum < 1:  # the run was to end by another rule
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


def _net(config: Mapping[str, Any], run: RunDirectory) -> dict[str, Any]:
    depth, beta = depth_and_beta(config)
    initial = _at_initialization(run)
    overflowed = pd.notna(initial.get("first_nonfinite_layer"))
    measured = {
        "growth_rate": np.inf if overflowed else initial.get("growth_rate", np.nan),
        "layer_variance": initial.get("layer_variance", np.nan),
        "relative_layer_variance": initial.get("relative_layer_variance", np.nan),
    }
    size = np.nan if depth is None else depth
    return {"depth": depth, "beta": beta, **measured, "log_growth": size * abs(measured["growth_rate"])}


def _at_initialization(run: RunDirectory) -> Mapping[str, Any]:
    """Row 0 of steps/; not read by `Table`, which would tidy up what a running job is writing."""
    parts = sorted((run.path / "steps").glob("part-*.parquet"))
    try:
        rows = pd.read_parquet(parts[0], filters=[("step", "==", 0)]) if parts else pd.DataFrame()
    except FileNotFoundError:  # joined with others at this moment
        rows = pd.DataFrame()
    return dict(rows.iloc[0]) if len(rows) else {}


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as numbers: overrides are text, and what is missing makes objects of the rest."""
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
