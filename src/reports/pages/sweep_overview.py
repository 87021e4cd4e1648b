"""What a page shows of all jobs of a sweep: their table, their curves, and means over seeds."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from start_training.analysis.columns import setting_text
from start_training.analysis.seed_means import seed_means
from start_training.analysis.step_columns import COLUMNS, step_columns
from start_training.analysis.sweep_table import sweep_table
from start_training.files.damaged_file import DamagedFile
from start_training.reports.pages.plots import numbers, plain
from start_training.runs.directory import FINISHED, RunDirectory
from start_training.runs.metrics_file import readable_metrics

# Columns of `sweep_table` that are not settings.
FACTS = (
    "directory", "name", "status", "reason", "seed", "configuration", "start_epoch", "start_step", "started",
    "observed_epoch", "max_epochs", "start_metric", "start_threshold", "depth", "beta", "growth_rate",
    "layer_variance", "relative_layer_variance", "log_growth", "steps", "epochs", "seconds", "config_hash",
)  # fmt: skip
SHOWN = ("growth_rate", "start_epoch", "steps", "seconds")  # of these, in the table of jobs after the metrics
BY_STEP = ("loss", "growth_rate", "layer_variance", "learning_rate")  # curves from the table `steps/`
POINTS = 60_000  # points of all curves of one quantity
MAX_LR = "range_test/max_lr"  # the rate that a range test suggests, shown like a metric
SETTLED = (*FINISHED, "running")  # a job with another status is listed with its reason


class SweepOverview:
    """The jobs of a sweep as the template `sweep_page.html` shows them.

    Args:
        directory: Directory of the sweep.
        trust: Packages of the user that the configs of the runs may name.

    Attributes:
        points: Most points of a curve by step.
        runs: Result of `sweep_table`.
        damaged: The error of each job with a damaged file, by its directory.
        settings: The settings that differ between jobs, without the seed.
        metrics: The final metrics that any job has.

    Raises:
        ValueError: the directory holds no runs, or the config of one names what must not be imported.
    """

    def __init__(self, directory: Path, *, trust: Collection[str] = ()) -> None:
        self.directory = directory
        self.damaged: dict[str, DamagedFile] = {}
        runs = sweep_table(directory, self.damaged, trust=trust)
        missing = [name for name in ("seed", "configuration") if name not in runs]  # no job has begun
        summaries = [self._summary(name) for name in runs["directory"]]
        rates = pd.Series([_max_lr(summary) for summary in summaries], runs.index)
        logged = {name for summary in summaries for name in summary.get("metrics") or {}} - {*FACTS}
        self.runs = runs.assign(**dict.fromkeys(missing), **{MAX_LR: rates})
        self.points = share(POINTS, len(runs))
        settings = [str(name) for name in self.runs if name not in (*FACTS, *logged) and "/" not in str(name)]
        self.settings = [name for name in settings if self.runs[name].map(setting_text).nunique() > 1]
        measured = [str(name) for name in self.runs if "/" in str(name) or name in logged]
        self.metrics = [name for name in measured if self.runs[name].notna().any()]

    @property
    def choices(self) -> dict[str, list[str]]:
        """The values of the status and of each setting that varies, in order, for filters and colours."""
        seeds = ["seed"] if self.runs["seed"].nunique() > 1 else []
        columns = {name: self.runs[name] for name in ("status", *self.settings, *seeds)}
        return {name: _ordered(values) for name, values in columns.items() if values.map(setting_text).nunique() > 1}

    def jobs(self) -> list[dict[str, Any]]:
        """Return for each job its directory, status, reason, texts of its settings, and the cells of its table row."""
        named = [name for name in (*self.settings, "seed") if name in self.runs]
        measured = [*self.metrics, *(name for name in SHOWN if name in self.runs and self.runs[name].notna().any())]
        rows = []
        for _, run in self.runs.iterrows():
            texts = {name: setting_text(run[name]) for name in ("status", *named)}
            cells = [(name, texts[name], _sort_key(run[name])) for name in ("status", *named)]
            cells += [(name, _cell(run[name]), _sort_key(run[name])) for name in measured]
            reason = str(run["reason"]) if pd.notna(run["reason"]) else ""
            rows.append({"directory": run["directory"], "reason": reason, "texts": texts, "cells": cells})
        return rows

    @property
    def unsettled(self) -> list[tuple[int, str, str]]:
        """Number, status and reason of each job that diverged or did not end as it should."""
        rows = self.runs.assign(reason=self.runs["reason"].fillna("").astype(str))
        return [
            (number, str(run["status"]), str(self.damaged.get(run["directory"], "")) or run["reason"] or "not known")
            for number, (_, run) in enumerate(rows.iterrows())
            if run["status"] == "diverged" or run["status"] not in SETTLED or run["directory"] in self.damaged
        ]

    def means(self) -> list[dict[str, Any]]:
        """Return for each configuration its settings, and mean, standard error and number of each final metric.

        Only jobs that have completed count: the last value of a job that diverged is that of an earlier step.
        """
        rows = []
        for _, runs in self.runs.groupby("configuration", sort=False):
            cells = []
            for name in self.metrics:
                completed = runs.loc[runs["status"] == "completed", name]
                values = pd.to_numeric(completed, errors="coerce").dropna()
                values = values[np.isfinite(values)]
                error = f" ± {values.sem():.2g}" if len(values) > 1 else ""
                cells.append((name, f"{values.mean():.4g}{error} ({len(values)})" if len(values) else "—"))
            texts = {name: setting_text(runs[name].iloc[0]) for name in self.settings}
            counts = runs["status"].value_counts()
            statuses = ", ".join(f"{count} {status}" for status, count in counts.items())
            rows.append({"texts": texts, "jobs": len(runs), "statuses": statuses, "cells": cells})
        return rows

    def curves(self) -> dict[str, dict[str, Any]]:
        """Return the curves of each quantity.

        Returns:
            By quantity: x and y, the steps and values of each job (empty without any); and means, with texts, x, y,
            error and seeds of each configuration of several seeds, at the steps that all of its jobs have reached.
        """
        tables = [self._recorded(name) for name in self.runs["directory"]]
        quantities = list(dict.fromkeys(name for table in tables for name in table))
        empty: pd.Series[float] = pd.Series(dtype=float)
        found = {name: [table.get(name, empty) for table in tables] for name in quantities}
        return {name: self._drawn(curves) for name, curves in sorted(found.items(), key=_importance)}

    def _drawn(self, curves: "list[pd.Series[float]]") -> dict[str, Any]:
        drawn: dict[str, Any] = {"x": [numbers(curve.index, 9) for curve in curves], "means": []}
        drawn["y"] = [numbers(curve.to_numpy()) for curve in curves]
        for _, runs in self.runs.reset_index(drop=True).groupby("configuration", sort=False):
            parts = [pd.DataFrame({"step": curves[job].index, "y": curves[job].to_numpy(), "seed": job})
                     for job in runs.index]  # fmt: skip
            if len(parts) < 2 or not all(len(part) for part in parts):
                continue
            means = seed_means(pd.concat(parts), "y", key="step")
            texts = {name: setting_text(runs[name].iloc[0]) for name in self.settings}
            values = {name: numbers(means[name]) for name in ("x", "error")} | {"y": numbers(means["mean"])}
            drawn["means"].append({"texts": texts, "seeds": len(parts), **values})
        return drawn

    def _summary(self, name: str) -> dict[str, Any]:
        try:
            return RunDirectory(self.directory / name).summary() or {}
        except DamagedFile:  # named by `sweep_table`
            return {}

    def _recorded(self, name: str) -> "dict[str, pd.Series[float]]":
        """Read the curves of a job by step; a file that cannot be read is added to `damaged`."""
        run = RunDirectory(self.directory / name)
        metrics, error = readable_metrics(run.metrics_file)
        rows = pd.DataFrame(list(metrics.values()))
        logged = rows.set_index("step").sort_index() if len(rows) else rows
        names = [column for column in logged if column not in ("epoch", *BY_STEP)]
        curves = {str(column): _thinned(logged[column].dropna(), self.points) for column in names}
        try:
            steps = run.rows("steps")
        except DamagedFile as damage:
            steps, error = None, error or damage
        if error is not None:
            self.damaged.setdefault(name, error)
        if steps is not None:
            steps = steps.drop_duplicates("step").set_index("step")
            for column in BY_STEP:
                if column in steps:
                    curves[column] = _thinned(steps[column].astype(float), self.points)
        return curves


def share(total: int, parts: int) -> int:
    """Return how many of `total` numbers each part may have: at least 2, and at most as many as a single run has.

    Example:
        >>> share(60_000, 400), share(60_000, 1), share(60_000, 10**6)
        (150, 256, 2)
    """
    return max(2, min(COLUMNS, total // max(parts, 1)))


def _max_lr(summary: Mapping[str, Any]) -> float | None:
    test = summary.get("range_test") or {}
    value = test.get("max_lr") if isinstance(test, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _thinned(values: "pd.Series[float]", most: int) -> "pd.Series[float]":
    """Average neighbouring steps, so that at most `most` points are left, at the mean step of each."""
    columns = step_columns(values.index.to_numpy(), most)
    steps = columns.mean(columns.steps.astype(np.float64))
    return pd.Series(columns.mean(np.asarray(values, np.float64)), index=np.round(steps, 1))


def _importance(item: tuple[str, Any]) -> tuple[bool, bool]:
    """Order the quantities: validation first, then the others as they were recorded, with single values at the end."""
    return item[0].startswith("test/"), not item[0].startswith("val/")


def _ordered(values: "pd.Series[Any]") -> list[str]:
    texts = {setting_text(value): value for value in values.drop_duplicates()}
    known = [text for text, value in texts.items() if pd.notna(value)]
    if pd.api.types.is_numeric_dtype(values):
        known.sort(key=lambda text: float(texts[text]))
    return known + [text for text in texts if text not in known]


def _cell(value: Any) -> str:
    return "—" if pd.isna(value) else f"{value:.5g}"


def _sort_key(value: Any) -> str:
    """Return a value as the page's script sorts it: a number where it is one, and "" last where it is missing."""
    if pd.isna(value):
        return ""
    return repr(float(value)) if isinstance(value, int | float | np.number) else str(value)


def job_texts(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what the figures of the page say of each job, escaped for plotly."""
    return [
        {"texts": job["texts"], "label": "<br>".join(
            [plain(job["directory"]), *(plain(f"{name} = {text}") for name, text in job["texts"].items())])}
        for job in jobs
    ]  # fmt: skip
