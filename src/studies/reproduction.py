"""Check by machine whether the runs of a small experiment show what its file states as expected."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from start_training.analysis.expectations import EXPECTATIONS, Check
from start_training.analysis.expectations.quantity import Quantity
from start_training.config.experiments import Experiment
from start_training.files.replaced_file import replace_text
from start_training.reports.sweep_figure import table_of
from start_training.runs.documents import finite, read_csv
from start_training.runs.sweep_jobs import read_jobs

HOLDS, FAILS, NOT_MEASURED = 0, 3, 4  # exit statuses, as those of diagnose
NAME = "expectation.json"
DIGITS = "start_training.datamodules.digits.Digits"


@dataclass(frozen=True)
class Reproduction:
    """The result of a check: the quantities of an experiment, with the intervals in which they are expected."""

    experiment: Experiment
    quantities: Sequence[Quantity]

    @property
    def failing(self) -> list[Quantity]:
        """The quantities that are outside of their intervals."""
        return [quantity for quantity in self.quantities if quantity.measured and not quantity.holds]

    @property
    def missing(self) -> list[Quantity]:
        """The quantities that cannot be computed from the runs."""
        return [quantity for quantity in self.quantities if not quantity.measured]

    @property
    def status(self) -> int:
        """`HOLDS`, `FAILS`, or `NOT_MEASURED` if nothing fails but some quantities are missing."""
        return FAILS if self.failing else NOT_MEASURED if self.missing else HOLDS

    def write(self, directory: Path) -> Path:
        """Write the result as JSON into the directory of the sweep, and return the file."""
        rows = [
            {**vars(quantity), "value": float(quantity.value), "holds": quantity.holds} for quantity in self.quantities
        ]
        verdict = {HOLDS: "holds", FAILS: "does not hold", NOT_MEASURED: "not measured"}[self.status]
        answer = {"experiment": self.experiment.name, "expectation": verdict, "quantities": rows}
        replace_text(directory / NAME, json.dumps(finite(answer), indent=2, ensure_ascii=False) + "\n")
        return directory / NAME


def check_of(experiment: Experiment, config: Mapping[str, Any]) -> Check:
    """Return the function that checks an experiment on the data of its config.

    Args:
        experiment: the experiment.
        config: its composed config.
    Raises:
        ValueError: the expectation is stated for another data set or size.
    """
    if config.get("size", "small") != "small" and experiment.script != "simulate":
        raise ValueError(f"size = {config['size']}: the expectation is stated for size=small; must be left out")
    expectation = EXPECTATIONS[experiment.name]
    if config["datamodule"]["_target_"] != DIGITS:
        return expectation.check
    if expectation.on_digits is None:
        raise ValueError(
            f"DATA_DIR: lacks the data set of {experiment.name}, and nothing is stated about digits in its place; must "
            f"have it; without a check, type start-training {experiment.script} {' '.join(experiment.words)}"
        )
    return expectation.on_digits


def table_of_runs(
    experiment: Experiment, directory: Path, grid: Mapping[str, Any], words: Sequence[str]
) -> pd.DataFrame:
    """Collect the table that an experiment's figure is drawn from, without runs of other commands in its directory.

    Args:
        experiment: the experiment.
        directory: the directory of its sweep.
        grid: `hydra.sweeper.params` of its config, the values of each swept setting as a comma-separated string.
        words: the overrides of the command, which replace those of the grid.
    """
    if experiment.script == "simulate":
        return read_csv(directory / f"{experiment.name.rpartition('/')[2]}.csv", ["layer", "depth", "log_mean"])
    table = table_of(experiment.figure)(directory, experiment.figure).drawn
    typed = values_of([*(f"{key}={values}" for key, values in grid.items()), *words])
    chosen = [name for name, overrides in read_jobs(directory).items() if _is_of(values_of(overrides), typed)]
    return table[table["directory"].isin(chosen)]


def values_of(words: Sequence[str]) -> dict[str, set[str]]:
    """Return the values of each override, several for a sweep; those of Hydra itself are left out.

    Example:
        >>> {key: sorted(values) for key, values in values_of(["seed=0,1", "size=small", "hydra.job.name=a"]).items()}
        {'seed': ['0', '1'], 'size': ['small']}
    """
    parser = OverridesParser.create()
    typed = [
        override for override in parser.parse_overrides(list(words)) if not override.key_or_group.startswith("hydra")
    ]
    return {override.get_key_element(): set(_values(override, parser)) for override in typed}


def _values(override: Override, parser: OverridesParser) -> Iterator[str]:
    """Yield the values of an override as text, the same for 1e-3 and 0.001, and for false and False."""
    if not override.is_sweep_override():
        yield str(override.value())
        return
    for value in override.sweep_string_iterator():
        yield str(parser.parse_override(f"{override.key_or_group}={value}").value())


def _is_of(job: Mapping[str, set[str]], typed: Mapping[str, set[str]]) -> bool:
    return job.keys() == typed.keys() and all(job[key] <= typed[key] for key in job)
