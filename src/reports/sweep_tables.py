"""What the figure of a sweep is drawn from, and what is said of it: a class for each kind of table."""

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from start_training.analysis.sweep_curves import sweep_curves
from start_training.analysis.sweep_table import sweep_table
from start_training.figures.start_of_training import check_column
from start_training.runs.directory import FINISHED

SHOWN = 10  # runs that are named one by one


class SweepTable:
    """A sweep's curves: one long table, rows of its runs below each other, here of their epochs.

    Others say in a class of their own what `drawn` is, what has to be there, and what of it is said. Raises ValueError
    for a directory without runs, or where none has left what is to be drawn.
    """

    kind = "epochs"
    name = "curves"  # of the table, for W&B
    holds = "an epoch behind it"
    all_counts = False  # whether they are told of, too, where nothing is missing

    def __init__(self, directory: Path, without: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.runs = _left_out(sweep_table(directory), without)
        self.drawn = self._drawn()
        if not self.there.any():
            counts = ", ".join(f"{count} {status}" for status, count in Counter(self.runs["status"]).items())
            raise ValueError(f"SWEEP_DIRECTORY = {directory}: {self._nothing()} ({counts})")

    def _drawn(self) -> pd.DataFrame:
        curves = sweep_curves(self.directory, self.kind)
        return curves[curves["directory"].isin(self.runs["directory"])]

    @cached_property
    def there(self) -> "pd.Series[bool]":
        """Of each run, whether it has left what is drawn."""
        return self.runs["directory"].isin(self.drawn["directory"])

    def _nothing(self) -> str:
        ended = self.runs["status"].isin(FINISHED).any()
        return f"no run has {self.holds}" if ended else "no run has ended yet"

    def check(self, by: str | None, x: str | None) -> None:
        """Raises ValueError for columns that it does not have, as typed for scripts/draw.py."""
        if by is not None:
            check_column("--by", by, self.drawn)
        if x is not None:
            check_column("--x", x, self.drawn, numeric=True)

    def tables(self, node: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
        """By name, for W&B."""
        return {self.name: self.drawn}

    def show(self, node: Mapping[str, Any]) -> None:
        """What was collected and what is missing, for the terminal; `node` is the figure's."""
        console = Console()
        if self.all_counts or not self.there.all():
            console.print(self.counts())
        missing = self.runs.assign(name=short_names(self.runs["name"]))[~self.there]
        tell(console, "missing", [f"{row['name']}: {row['status']}" for _, row in missing.iterrows()])

    def counts(self) -> Table:
        """A row for each status."""
        shown = Table("status", title="Runs", title_justify="left")
        for heading in ("runs", "drawn"):
            shown.add_column(heading, justify="right")
        for status, there in self.there.groupby(self.runs["status"], sort=False):
            shown.add_row(str(status), str(len(there)), str(int(there.sum())))
        return shown

    def answer(self, node: Mapping[str, Any]) -> dict[str, Any] | None:
        """What is left as JSON beside the figure; None: nothing."""
        return None


def tell(console: Console, heading: str, lines: list[str]) -> None:
    """The first lines, each after its heading, and how many more there are."""
    for line in lines[:SHOWN]:
        console.print(f"{heading}: {line}", soft_wrap=True, highlight=False, markup=False)
    if len(lines) > SHOWN:
        console.print(f"{heading}: and {len(lines) - SHOWN} more", highlight=False)


def _left_out(table: pd.DataFrame, without: tuple[str, ...]) -> pd.DataFrame:
    for setting in without:
        key, _, value = setting.partition("=")
        check_column("--without", key, table)
        of_setting = table[key].astype(str) == value
        if not of_setting.any():
            there = ", ".join(map(str, table[key].unique()))
            raise ValueError(f"--without = {setting}: no run has this value of {key}; there are {there}")
        table = table[~of_setting]
    return table


def short_names(names: "pd.Series[str]") -> "pd.Series[str]":
    """Without the overrides that all runs have in common."""
    words = names.str.split(" ")
    common = set.intersection(*(set(each) for each in words)) if len(words) > 1 else set()
    return words.map(lambda each: " ".join(word for word in each if word not in common))
