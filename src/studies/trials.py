"""Train runs of one config with different settings, for a search, the recipe or the weight-decay guideline."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from start_training.config.build_task import merit_of
from start_training.config.composed import plain
from start_training.runs.directory import RunDirectory
from start_training.runs.documents import with_entries
from start_training.runs.job import Job
from start_training.runs.metrics_file import read_metrics
from start_training.runs.run_name import run_name
from start_training.schedules.rates.rate_suggestion import enough
from start_training.settings import PositiveInteger, Seed, checked
from start_training.standard_error import mean_of_runs
from start_training.studies.trial_checks import check_trials
from start_training.tasks.merit import ACCURACY, Merit
from start_training.training.train import train

# The top-level config keys that the command train has; a study's config has further keys, which its runs must not get.
RUN_KEYS = (
    *("model", "initializer", "readout_initializer", "datamodule", "optimizer", "schedule", "callbacks"),
    *("trainer", "logger", "seed", "depth", "initialize", "compile", "ckpt_path", "task", "monitor", "mode"),
)
Changes = Mapping[str, Any]


@checked
@dataclass(frozen=True)
class Seeds:
    """The settings `seed` (the first seed) and `seeds` (the number of seeds) of a study."""

    seed: Seed
    seeds: PositiveInteger

    @property
    def all_seeds(self) -> range:
        """The seeds of the study: `seed`, `seed` + 1, …, `seeds` of them."""
        return range(self.seed, self.seed + self.seeds)


@dataclass(frozen=True)
class Trial:
    """A finished run or range test: its directory `run`, and `summary`, the content of its summary.json."""

    run: RunDirectory
    summary: Mapping[str, Any]

    @property
    def suggestion(self) -> Mapping[str, Any]:
        """The result of the run's range test, with the keys max_lr, min_lr, rule, …"""
        return with_entries(self.run.summary_file, self.summary.get("range_test"), "max_lr", "best_val_loss", "rule")

    @property
    def curves(self) -> pd.DataFrame:
        """The curves of the run's range test, with the columns of `columns_of(merit)`."""
        return self.run.existing_rows("range_test")

    @property
    def epochs(self) -> pd.DataFrame:
        """The metrics of the run, one row per epoch; with a column `seconds` if the training was timed."""
        logged = read_metrics(self.run.metrics_file).values()
        metrics = [row for row in logged if "train/loss" in row or ("epoch" in row and "val/loss" in row)]
        names = dict.fromkeys(["epoch", "val/loss", *(key for row in metrics for key in row)])
        rows = pd.DataFrame(metrics, columns=list(names))
        rows = rows if len(rows) else rows.astype(float)  # of a run that diverged in its first epoch
        if seconds := self.summary.get("training_seconds"):
            rows["seconds"] = seconds * (rows["epoch"] + 1) / self.summary["epochs"]
        return rows

    def metric(self, name: str) -> float:
        """Return the last value of a metric; for a run that diverged, infinity for a loss, and the worst score."""
        worst = np.inf if name.endswith("loss") else 0.0 if name.endswith("/accuracy") else -np.inf
        kept = (self.summary.get("recovery") or {}).get("kept") or {}  # of an earlier epoch
        value = {**self.summary["metrics"], **kept}.get(name) if self.summary["status"] == "completed" else None
        return worst if value is None else float(value)


@dataclass(frozen=True)
class Trials:
    """Trains runs of a study's config with changed settings, in `directory`/runs/HASH; finished runs are not repeated.

    Args:
        config: The study's config before its interpolations are resolved. Its keys `RUN_KEYS` configure the runs.
        directory: The directory of the study.
        choices: The option of each config group that the study was started with, which name net and initializer.

    Raises:
        ValueError: The settings cannot be used for a run or a range test, or a run would need several processes.
    """

    config: DictConfig
    directory: Path
    choices: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_trials(plain(self.config))  # report mistakes before anything is trained

    @property
    def merit(self) -> Merit:
        """The merit by which the runs are compared."""
        return merit_of(plain(self.config))

    def range_test(self, changes: Changes, **settings: Any) -> Trial:
        """Make a range test: a run that ends after the range test configured in `config.range_tests`.

        Args:
            changes: Changed settings of the run, by config key `group.key`.
            settings: Changed settings of the range test itself.
        """
        test = {f"callbacks.range_test.{key}": value for key, value in {**settings, "stop": True}.items()}
        callbacks = OmegaConf.to_container(self.config.range_tests, resolve=True)
        return self._run({"callbacks": callbacks, "schedule": None, **changes, **test}, changes)

    def train(self, changes: Changes) -> Trial:
        """Train a full run with changed settings, which are given by config key `group.key`."""
        return self._run(changes, {key: value for key, value in changes.items() if not key.startswith("callbacks")})

    def _run(self, changes: Changes, shown: Changes) -> Trial:
        config = OmegaConf.masked_copy(self.config, [key for key in RUN_KEYS if key in self.config])
        for key, value in changes.items():
            node = dict(value) if isinstance(value, Mapping) else value
            OmegaConf.update(config, key, node, merge=False, force_add=True)
        job = plain(config)
        runs = self.directory / "runs"
        directory = runs / run_name(job, runs)
        overrides = tuple(as_override(key, value) for key, value in shown.items())
        summary = train(Job(job, directory, overrides, sweep=self.directory.name, choices=self.choices))
        run = RunDirectory(directory)
        return Trial(run, with_entries(run.summary_file, summary, "metrics", "epochs", "seed"))


@dataclass
class Option:
    """One option of a search: changed settings, with a range test and a full run for each seed.

    Args:
        name: The option's name in tables and reports.
        changes: Changed settings of range tests and full runs, by config key.
        run_changes: Further changed settings, of full runs only.
        tests: The range tests, made by `test`.
        runs: The full runs, trained by `train`.
        merit: The merit by which options are compared, set by `train`.
    """

    name: str
    changes: Changes
    run_changes: Changes = field(default_factory=dict)
    tests: list[Trial] = field(default_factory=list)
    runs: list[Trial] = field(default_factory=list)
    merit: Merit = ACCURACY

    def test(self, trials: Trials, seeds: Iterable[int], **settings: Any) -> "Option":
        """Make a range test with each seed, with changed `settings` of the range test, and return the option itself."""
        self.tests = [trials.range_test({**self.changes, "seed": seed}, **settings) for seed in seeds]
        return self

    def train(self, trials: Trials, seeds: Iterable[int]) -> None:
        """Train a full run with each seed; if range tests were made, at `max_lr`, which must not be NaN."""
        assert not self.tests or np.isfinite(self.max_lr)
        self.merit = trials.merit
        rate = {"optimizer.lr": self.max_lr} if self.tests else {}
        changes = {**self.changes, **self.run_changes, **rate}
        self.runs += [trials.train({**changes, "seed": seed}) for seed in seeds]

    @property
    def result(self) -> tuple[float, float]:
        """Mean and standard error over the runs of the metric by which options are compared."""
        return self.final(self.merit.monitor)

    @property
    def max_lr(self) -> float:
        """The median of the largest rates by the range tests, to two digits; NaN unless half of them suggest one."""
        return float(f"{np.nanmedian(self.rates):.2g}") if enough(self.rates) else np.nan

    @property
    def rates(self) -> list[float]:
        """The largest learning rate by each range test; NaN for a test that suggests none."""
        return [_value_or(test.suggestion["max_lr"], np.nan) for test in self.tests]

    @property
    def lowest_loss(self) -> float:
        """The lowest validation loss in a range test, mean over seeds."""
        return self.lowest_losses[0]

    @property
    def lowest_losses(self) -> tuple[float, float]:
        """The lowest validation loss in a range test: mean over seeds and its standard error."""
        return mean_of_runs([_value_or(test.suggestion["best_val_loss"], np.inf) for test in self.tests])

    def final(self, metric: str) -> tuple[float, float]:
        """Return mean and standard error over the runs of a metric's last value; the error is NaN for one run."""
        return mean_of_runs([run.metric(metric) for run in self.runs])

    def row(self) -> dict[str, Any]:
        """Return the option's row of options.csv."""
        row: dict[str, Any] = {"option": self.name}
        if self.tests:
            low, high = np.fmin.reduce(self.rates), np.fmax.reduce(self.rates)
            row |= {"max_lr": self.max_lr, "max_lr_low": low, "max_lr_high": high}
            row["range_test_val_loss"], row["range_test_val_loss s.e."] = self.lowest_losses
        if self.runs:
            row |= {"epochs": self.runs[0].summary["epochs"], "runs": len(self.runs)}
            if times := [run.summary["training_seconds"] for run in self.runs if "training_seconds" in run.summary]:
                row["seconds"] = float(np.mean(times))
            row |= {"diverged": sum(run.summary["status"] == "diverged" for run in self.runs)}
            metrics = ("val/loss", self.merit.metric("val"), self.merit.metric("test"), self.merit.monitor)
            for metric in dict.fromkeys(metric for metric in metrics if not metric.endswith("/")):
                row[metric], row[f"{metric} s.e."] = self.final(metric)
        return row


def table_of(options: Iterable[Option]) -> pd.DataFrame:
    """Return a table with one row for each option, the content of options.csv."""
    return pd.DataFrame([option.row() for option in options])


def curves_of(options: Iterable[Option], kind: str) -> pd.DataFrame:
    """Concatenate the curves of all range tests or runs into one table, with the added columns option and seed.

    Args:
        options: The options whose curves are concatenated, in this order.
        kind: "curves" for the curves of the range tests, or "epochs" for the metrics of the full runs.
    """
    tables = [
        getattr(trial, kind).assign(option=option.name, seed=trial.summary["seed"])
        for option in options
        for trial in (option.tests if kind == "curves" else option.runs)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def run_overrides(job: Job) -> list[str]:
    """Return those overrides of a study's job that the command train accepts too."""
    return [word for word in job.overrides if word.lstrip("+~").split("=")[0].split(".")[0] in RUN_KEYS]


def as_override(key: str, value: Any) -> str:
    """Format a config key and its value as an override to type on the command line."""
    return f"{key}={'null' if value is None else str(value).replace(' ', '')}"


def _value_or(value: float | None, default: float) -> float:
    return default if value is None or np.isnan(value) else value
