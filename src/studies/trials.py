"""Short runs of one config, from which a search or a recipe draws its conclusions."""

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
from start_training.training.train import check_settings, train

# What scripts/train.py is configured by; the rest of a search's config is the search's own.
OF_A_RUN = (
    *("model", "initializer", "readout_initializer", "datamodule", "optimizer", "schedule", "callbacks"),
    *("trainer", "logger", "seed", "depth", "compile", "ckpt_path"),
)
Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """A finished run, and what it left behind."""

    run: RunDirectory
    summary: Mapping[str, Any]

    @property
    def suggestion(self) -> Mapping[str, Any]:
        """What its range test says: max_lr, min_lr, rule, …"""
        return self.summary["range_test"]

    @property
    def curves(self) -> pd.DataFrame:
        """Of a range test: step, learning_rate, train_loss, val_loss, val_accuracy."""
        rows = self.run.table("range_test").read()
        assert rows is not None
        return rows

    @property
    def epochs(self) -> pd.DataFrame:
        """Its metrics, a row per epoch; `seconds` where its training was timed."""
        found = [row for row in read_metrics(self.run.metrics_file).values() if "train/loss" in row]
        rows = pd.DataFrame(found, columns=list(dict.fromkeys(["epoch", *(key for row in found for key in row)])))
        if seconds := self.summary.get("training_seconds"):
            rows["seconds"] = seconds * (rows["epoch"] + 1) / self.summary["epochs"]
        return rows

    def metric(self, name: str) -> float:
        """Its last value; of a run that diverged before it had one the worst there is."""
        worst = np.inf if name.endswith("loss") else 0.0
        value = self.summary["metrics"].get(name) if self.summary["status"] == "completed" else None
        return worst if value is None else float(value)


@dataclass(frozen=True)
class Trials:
    """Trains one config with changes, each run in `directory`/runs/ under its hash; what has finished is not run again.

    Raises ValueError for settings that no range test could use, where runs would need several processes, and
    whatever a run raises that fails.
    """

    config: DictConfig
    directory: Path

    def __post_init__(self) -> None:
        config = plain(self.config)
        trainer = config["trainer"]
        callbacks = config.get("range_tests", config.get("callbacks"))  # what needs only whole runs has no range tests
        if "range_tests" in config and not (isinstance(callbacks, Mapping) and "range_test" in callbacks):
            named = ", ".join(callbacks) if isinstance(callbacks, Mapping) else callbacks
            raise ValueError(
                f"range_tests = {named or 'none'}: must hold a range_test, as range_tests=range_test has it"
            )
        if starts_processes(trainer):
            raise ValueError(
                f"trainer.devices = {trainer.get('devices')}: its runs are trained one after the other in one process; "
                "search on one device, then train on several"
            )
        check_settings({**config, "callbacks": callbacks})  # before anything is trained

    def range_test(self, changes: Changes, **settings: Any) -> Trial:
        """A run that ends after the range test of `range_tests`, some of whose settings may be others."""
        test = {f"callbacks.range_test.{key}": value for key, value in {**settings, "stop": True}.items()}
        callbacks = OmegaConf.to_container(self.config.range_tests, resolve=True)
        return self._run({"callbacks": callbacks, "schedule": None, **changes, **test}, changes)

    def train(self, changes: Changes) -> Trial:
        """A whole run."""
        return self._run(changes, {key: value for key, value in changes.items() if key != "callbacks"})

    def _run(self, changes: Changes, told: Changes) -> Trial:
        config = OmegaConf.masked_copy(self.config, [key for key in OF_A_RUN if key in self.config])
        for key, value in changes.items():
            OmegaConf.update(config, key, value, merge=False, force_add=True)
        job = plain(config)
        runs = self.directory / "runs"
        directory = runs / run_name(job, runs)
        overrides = tuple(named(key, value) for key, value in told.items())
        summary = train(Job(job, directory, overrides, sweep=self.directory.name))
        return Trial(RunDirectory(directory), summary)


@dataclass
class Option:
    """One of the alternatives of a search: its range tests and its runs, one for each seed."""

    name: str
    changes: Changes  # of both
    of_tests: Changes = field(default_factory=dict)
    of_runs: Changes = field(default_factory=dict)
    tests: list[Trial] = field(default_factory=list)
    runs: list[Trial] = field(default_factory=list)

    def test(self, trials: Trials, seeds: Iterable[int], **settings: Any) -> "Option":
        """Run its range tests."""
        changes = {**self.changes, **self.of_tests}
        self.tests = [trials.range_test({**changes, "seed": seed}, **settings) for seed in seeds]
        return self

    def train(self, trials: Trials, seeds: Iterable[int]) -> "Option":
        """Run it in full with more seeds; up to the rate of its range tests, if it has any."""
        if self.tests and np.isnan(self.max_lr):
            raise ValueError(f"{self.name}: {self.tests[0].suggestion['rule']}")
        rate = {"optimizer.lr": self.max_lr} if self.tests else {}
        changes = {**self.changes, **self.of_runs, **rate}
        self.runs += [trials.train({**changes, "seed": seed}) for seed in seeds]
        return self

    @property
    def max_lr(self) -> float:
        """The median over seeds of what range tests suggest, to the two digits one would type; NaN: they do not say."""
        known = [rate for rate in self.rates if np.isfinite(rate)]
        return float(f"{np.median(known):.2g}") if known else np.nan

    @property
    def rates(self) -> list[float]:
        """What each range test suggests; NaN where one does not say."""
        return [_or(test.suggestion["max_lr"], np.nan) for test in self.tests]

    @property
    def lowest_loss(self) -> float:
        """The lowest validation loss of a range test, mean over seeds."""
        return self.lowest_losses[0]

    @property
    def lowest_losses(self) -> tuple[float, float]:
        """Mean over range tests of the lowest validation loss, and its standard error."""
        return mean_and_error([_or(test.suggestion["best_val_loss"], np.inf) for test in self.tests])

    def final(self, metric: str) -> tuple[float, float]:
        """Mean and standard error over the runs of a metric's last value; an error of NaN for one run."""
        return mean_and_error([run.metric(metric) for run in self.runs])

    def row(self) -> dict[str, Any]:
        """Its line of a table."""
        row: dict[str, Any] = {"option": self.name}
        if self.tests:
            row |= {
                "max_lr": self.max_lr,
                "max_lr_low": np.fmin.reduce(self.rates),
                "max_lr_high": np.fmax.reduce(self.rates),
            }
            row["range_test_val_loss"], row["range_test_val_loss s.e."] = self.lowest_losses
        if self.runs:
            row |= {"epochs": self.runs[0].summary["epochs"], "runs": len(self.runs)}
            if times := [run.summary["training_seconds"] for run in self.runs if "training_seconds" in run.summary]:
                row["seconds"] = float(np.mean(times))
            row |= {"diverged": sum(run.summary["status"] == "diverged" for run in self.runs)}
            for metric in ("val/loss", "val/accuracy", "test/accuracy"):
                row[metric], row[f"{metric} s.e."] = self.final(metric)
        return row


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error; the error of one value is NaN, that of infinite ones infinite."""
    if not np.isfinite(values).all():
        return float(np.mean(values)), np.inf
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
    return float(np.mean(values)), error


def table_of(options: Iterable[Option]) -> pd.DataFrame:
    """A row for each option."""
    return pd.DataFrame([option.row() for option in options])


def curves_of(options: Iterable[Option], kind: str) -> pd.DataFrame:
    """All `curves` of range tests, or `epochs` of runs, one below the other, with the columns option and seed."""
    found = [
        getattr(trial, kind).assign(option=option.name, seed=trial.summary["seed"])
        for option in options
        for trial in (option.tests if kind == "curves" else option.runs)
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def named(key: str, value: Any) -> str:
    """An override as one would type it."""
    return f"{key}={'null' if value is None else str(value).replace(' ', '')}"


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None or np.isnan(value) else value
