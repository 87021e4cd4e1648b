"""The tables that figures of a sweep are drawn from, each with what is printed and written about it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from start_training.analysis.columns import check_column
from start_training.analysis.sweep_curves import sweep_curves
from start_training.analysis.sweep_table import sweep_table
from start_training.runs.directory import FINISHED

SHOWN = 10  # runs that are named one by one


class SweepTable:
    """A sweep's curves: one long table, rows of its runs below each other, here of their epochs.

    Subclasses hold other tables: what is drawn, which runs are in it, what is printed of it, and what JSON has.

    Args:
        directory: Of the sweep.
        node: The `figure` node of a config, which names the figure and its settings.
        without: Settings, key=value, whose runs are left out.

    Raises:
        ValueError: the directory holds no runs, or none of them has what is to be drawn.
    """

    kind = "epochs"  # as `start_training.figures.draws` names it
    name = "curves"  # of the table, for W&B
    needed = "an epoch behind it"  # what a run must have
    always_counts = False  # whether runs are counted on the terminal even if none is missing

    def __init__(self, directory: Path, node: Mapping[str, Any], without: Sequence[str] = ()) -> None:
        self.directory, self.node = directory, node
        self.runs = _left_out(sweep_table(directory), without)
        self.drawn = self._drawn()
        if not self.has_rows.any():
            counts = ", ".join(f"{count} {status}" for status, count in Counter(self.runs["status"]).items())
            missing = (
                f"no run has {self.needed}" if self.runs["status"].isin(FINISHED).any() else "no run has ended yet"
            )
            raise ValueError(f"SWEEP_DIRECTORY = {directory}: {missing} ({counts})")

    def _drawn(self) -> pd.DataFrame:
        curves = sweep_curves(self.directory, self.kind)
        return curves[curves["directory"].isin(self.runs["directory"])]

    @cached_property
    def has_rows(self) -> "pd.Series[bool]":
        """For each run, whether it is drawn."""
        return self.runs["directory"].isin(self.drawn["directory"])

    def check(self, by: str | None, x: str | None) -> None:
        """Raises ValueError if the table lacks one of these columns, as they are typed for scripts/draw.py."""
        if by is not None:
            check_column("--by", by, self.drawn)
        if x is not None:
            check_column("--x", x, self.drawn, numeric=True)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables for W&B, by name."""
        return {self.name: self.drawn}

    def show(self) -> None:
        """Print how many runs are drawn, if that is not all, and which are missing."""
        if self.always_counts or not self.has_rows.all():
            Console().print(self.counts())
        missing = self.runs.assign(name=short_names(self.runs["name"]))[~self.has_rows]
        print_first("missing", [f"{row['name']}: {row['status']}" for _, row in missing.iterrows()])

    def counts(self) -> Table:
        """A row for each status."""
        by_status = self.has_rows.groupby(self.runs["status"], sort=False)
        rows = [(str(status), str(len(drawn)), str(int(drawn.sum()))) for status, drawn in by_status]
        return number_table("Runs", ("status", "runs", "drawn"), rows)

    def answer(self) -> dict[str, Any] | None:
        """Plain data that is written as JSON beside the figure; None: no such file."""
        return None


def number_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str | None = None
) -> Table:
    """A table for the terminal, of a first column of names and other columns of numbers."""
    table = Table(headings[0], title=title, title_justify="left", caption=caption)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def print_lines(lines: Sequence[str]) -> None:
    """Print lines as they are, however long."""
    for line in lines:
        Console().print(line, soft_wrap=True, highlight=False, markup=False)


def print_first(heading: str, lines: Sequence[str]) -> None:
    """Print the first lines, with the heading before each, and how many more there are."""
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    print_lines([f"{heading}: {line}" for line in [*lines[:SHOWN], *more]])


def _left_out(table: pd.DataFrame, without: Sequence[str]) -> pd.DataFrame:
    for setting in without:
        key, _, value = setting.partition("=")
        check_column("--without", key, table)
        has_value = table[key].astype(str) == value
        if not has_value.any():
            values = ", ".join(map(str, table[key].unique()))
            raise ValueError(f"--without = {setting}: no run has this value of {key}; there are {values}")
        table = table[~has_value]
    return table


def short_names(names: "pd.Series[str]") -> "pd.Series[str]":
    """Names, made of overrides, without those that all runs have in common."""
    overrides = names.str.split(" ")
    common = set.intersection(*map(set, overrides)) if len(overrides) > 1 else set()
    return overrides.map(lambda words: " ".join(word for word in words if word not in common))
