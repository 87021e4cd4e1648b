"""Runs of one config with changes, from which a search, a recipe or the weight-decay guideline draws conclusions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from start_training.config.composed import plain
from start_training.launchers.process_tree import starts_processes
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.metrics_file import read_metrics
from start_training.runs.run_name import run_name
from start_training.settings import PositiveInteger, Seed, checked
from start_training.standard_error import mean_and_error
from start_training.training.train import check_settings, train

# The keys that the command train is configured by; the other keys of a config are the study's own.
OF_A_RUN = (
    *("model", "initializer", "readout_initializer", "datamodule", "optimizer", "schedule", "callbacks"),
    *("trainer", "logger", "seed", "depth", "compile", "ckpt_path"),
)
Changes = Mapping[str, Any]


@checked
@dataclass(frozen=True)
class Seeds:
    """The settings `seed` and `seeds` of a study: its first seed, and how many it uses."""

    seed: Seed
    seeds: PositiveInteger

    @property
    def all_seeds(self) -> range:
        """`seeds` seeds from `seed` on."""
        return range(self.seed, self.seed + self.seeds)


@dataclass(frozen=True)
class Trial:
    """A finished run: its directory and its summary."""

    run: RunDirectory
    summary: Mapping[str, Any]

    @property
    def suggestion(self) -> Mapping[str, Any]:
        """The result of its range test: max_lr, min_lr, rule, …"""
        return self.summary["range_test"]

    @property
    def curves(self) -> pd.DataFrame:
        """The curves of its range test: step, learning_rate, train_loss, val_loss, val_accuracy."""
        rows = self.run.table("range_test").read()
        assert rows is not None
        return rows

    @property
    def epochs(self) -> pd.DataFrame:
        """Its metrics, a row for each epoch; with the column `seconds` if its training was timed."""
        metrics = [row for row in read_metrics(self.run.metrics_file).values() if "train/loss" in row]
        rows = pd.DataFrame(metrics, columns=list(dict.fromkeys(["epoch", *(key for row in metrics for key in row)])))
        if seconds := self.summary.get("training_seconds"):
            rows["seconds"] = seconds * (rows["epoch"] + 1) / self.summary["epochs"]
        return rows

    def metric(self, name: str) -> float:
        """The last value of a metric; of a run that diverged, infinity for a loss and 0 for an accuracy."""
        worst = np.inf if name.endswith("loss") else 0.0
        value = self.summary["metrics"].get(name) if self.summary["status"] == "completed" else None
        return worst if value is None else float(value)


@dataclass(frozen=True)
class Trials:
    """Trains one config with changes, each run in `directory`/runs/ under its hash; a finished run is not repeated.

    Args:
        config: The study's config before its interpolations were resolved; its keys `OF_A_RUN` are those of the runs.
        directory: The study's.

    Raises:
        ValueError: No run or no range test can use the settings, or runs would need several processes.
    """

    config: DictConfig
    directory: Path

    def __post_init__(self) -> None:
        config = plain(self.config)
        trainer = config["trainer"]
        callbacks = config.get("range_tests", config.get("callbacks"))  # the guideline has no range tests
        if "range_tests" in config and not (isinstance(callbacks, Mapping) and "range_test" in callbacks):
            given = (", ".join(callbacks) if isinstance(callbacks, Mapping) else callbacks) or "none"
            raise ValueError(f"range_tests = {given}: must hold a range_test, as range_tests=range_test has it")
        if starts_processes(trainer):
            raise ValueError(
                f"trainer.devices = {trainer.get('devices')}: its runs are trained one after the other in one process; "
                "search on one device, then train on several"
            )
        check_settings({**config, "callbacks": callbacks})  # before anything is trained

    def range_test(self, changes: Changes, **settings: Any) -> Trial:
        """A run that ends after the range test of `config.range_tests`.

        Args:
            changes: Values by config key, `group.key`.
            settings: Settings of the range test in place of the config's.
        """
        test = {f"callbacks.range_test.{key}": value for key, value in {**settings, "stop": True}.items()}
        callbacks = OmegaConf.to_container(self.config.range_tests, resolve=True)
        return self._run({"callbacks": callbacks, "schedule": None, **changes, **test}, changes)

    def train(self, changes: Changes) -> Trial:
        """A whole run with these values by config key."""
        return self._run(changes, {key: value for key, value in changes.items() if key != "callbacks"})

    def _run(self, changes: Changes, shown: Changes) -> Trial:
        config = OmegaConf.masked_copy(self.config, [key for key in OF_A_RUN if key in self.config])
        for key, value in changes.items():
            OmegaConf.update(config, key, value, merge=False, force_add=True)
        job = plain(config)
        runs = self.directory / "runs"
        directory = runs / run_name(job, runs)
        overrides = tuple(named(key, value) for key, value in shown.items())
        summary = train(Job(job, directory, overrides, sweep=self.directory.name))
        return Trial(RunDirectory(directory), summary)


@dataclass
class Option:
    """One of the alternatives of a search: its range tests and its runs, one for each seed.

    Args:
        name: In tables and reports.
        changes: Values by config key, of range tests and runs.
        of_runs: Further values, of runs only.
        tests: Filled by `test`.
        runs: Filled by `train`.
    """

    name: str
    changes: Changes
    of_runs: Changes = field(default_factory=dict)
    tests: list[Trial] = field(default_factory=list)
    runs: list[Trial] = field(default_factory=list)

    def test(self, trials: Trials, seeds: Iterable[int], **settings: Any) -> "Option":
        """Make a range test with each seed; `settings` are those of the range test. Returns the option."""
        self.tests = [trials.range_test({**self.changes, "seed": seed}, **settings) for seed in seeds]
        return self

    def train(self, trials: Trials, seeds: Iterable[int]) -> None:
        """Make a whole run with each seed, at the largest rate of its range tests if it has any."""
        if self.tests and np.isnan(self.max_lr):
            raise ValueError(f"{self.name}: {self.tests[0].suggestion['rule']}")
        rate = {"optimizer.lr": self.max_lr} if self.tests else {}
        changes = {**self.changes, **self.of_runs, **rate}
        self.runs += [trials.train({**changes, "seed": seed}) for seed in seeds]

    @property
    def max_lr(self) -> float:
        """The median over seeds of the rates that range tests suggest, to two digits; NaN if none suggests one."""
        known = [rate for rate in self.rates if np.isfinite(rate)]
        return float(f"{np.median(known):.2g}") if known else np.nan

    @property
    def rates(self) -> list[float]:
        """The largest rate that each range test suggests; NaN where it suggests none."""
        return [_or(test.suggestion["max_lr"], np.nan) for test in self.tests]

    @property
    def lowest_loss(self) -> float:
        """The lowest validation loss of a range test, mean over seeds."""
        return self.lowest_losses[0]

    @property
    def lowest_losses(self) -> tuple[float, float]:
        """Mean over range tests of the lowest validation loss, and its standard error."""
        return mean_of_runs([_or(test.suggestion["best_val_loss"], np.inf) for test in self.tests])

    def final(self, metric: str) -> tuple[float, float]:
        """Mean and standard error over the runs of a metric's last value; an error of NaN for one run."""
        return mean_of_runs([run.metric(metric) for run in self.runs])

    def row(self) -> dict[str, Any]:
        """Its row of options.csv."""
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
            for metric in ("val/loss", "val/accuracy", "test/accuracy"):
                row[metric], row[f"{metric} s.e."] = self.final(metric)
        return row


def mean_of_runs(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error over runs; the error is NaN of one run, and infinite if a value is not finite."""
    return mean_and_error(values) if np.isfinite(values).all() else (float(np.mean(values)), np.inf)


def table_of(options: Iterable[Option]) -> pd.DataFrame:
    """A row for each option."""
    return pd.DataFrame([option.row() for option in options])


def curves_of(options: Iterable[Option], kind: str) -> pd.DataFrame:
    """The rows of all range tests or runs, with the columns option and seed.

    Args:
        options: Those whose rows are joined, in order.
        kind: `curves` of the range tests, or `epochs` of the runs.
    """
    tables = [
        getattr(trial, kind).assign(option=option.name, seed=trial.summary["seed"])
        for option in options
        for trial in (option.tests if kind == "curves" else option.runs)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def check_epochs(config: Mapping[str, Any]) -> None:
    """Raises ValueError for a limit on steps, in a study that counts in epochs."""
    if (steps := config["trainer"].get("max_steps", -1)) != -1:
        raise ValueError(f"trainer.max_steps = {steps}: would cut runs short, which are counted in epochs")


def run_overrides(job: Job) -> list[str]:
    """The overrides of a study's job that the command train knows too."""
    return [word for word in job.overrides if word.lstrip("+~").split("=")[0].split(".")[0] in OF_A_RUN]


def named(key: str, value: Any) -> str:
    """An override as one would type it."""
    return f"{key}={'null' if value is None else str(value).replace(' ', '')}"


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None or np.isnan(value) else value
