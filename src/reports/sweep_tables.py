"""The base class of the tables that figures of a sweep are drawn from, and how they are printed."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from start_training.analysis.columns import check_column
from start_training.analysis.sweep_curves import sweep_curves
from start_training.analysis.sweep_table import sweep_table
from start_training.files.damaged_file import DamagedFile
from start_training.reports.terminal import print_lines, print_table
from start_training.runs.directory import FINISHED

SHOWN = 10  # largest number of lines printed under one heading


class SweepTable:
    """The table of a sweep's runs that a figure draws, here with a row for each epoch.

    Subclasses hold other tables, and print and return the results that belong to them.

    Args:
        directory: Directory of the sweep.
        node: The `figure` node of a config, which names the figure and its settings.
        without: Settings `key=value` whose runs are left out.
        trust: Packages of the user that the configs of the runs may name.

    Raises:
        ValueError: the directory holds no runs, or no run has recorded what the figure draws.
    """

    kind = "epochs"  # name of the table in `start_training.figures.draws`
    name = "curves"  # name of the table in W&B
    needed = "finished an epoch"  # what a run must have, as the end of "none of its jobs has …"
    always_counts = False  # whether the number of runs is printed even if none is missing

    def __init__(
        self, directory: Path, node: Mapping[str, Any], without: Sequence[str] = (), trust: Collection[str] = ()
    ) -> None:
        self.directory, self.node, self.trust = directory, node, trust
        self.damaged: dict[str, DamagedFile] = {}  # by the directory of the run; those of all runs are named
        self.runs = _leave_out(sweep_table(directory, self.damaged, trust=trust), without)
        if self.runs.empty:
            raise ValueError(f"--without = {', '.join(without)}: excludes all runs; must leave some")
        self.drawn = self._drawn()
        statuses = self.runs["status"].mask(self.runs["directory"].isin(self.damaged), "damaged")
        self.runs = self.runs.assign(status=statuses)
        if not self.has_rows.any():
            counts = ", ".join(f"{count} {status}" for status, count in Counter(self.runs["status"]).items())
            missing = self.needed if self.runs["status"].isin(FINISHED).any() else "ended yet"
            first = next((f"; damaged: {error}" for error in self.damaged.values()), "")
            raise ValueError(f"SWEEP_DIRECTORY = {directory}: none of its jobs ({counts}) has {missing}{first}")

    def _drawn(self) -> pd.DataFrame:
        curves = sweep_curves(self.directory, self.kind, self.damaged, trust=self.trust)
        return curves[curves["directory"].isin(self.runs["directory"])]

    @cached_property
    def has_rows(self) -> "pd.Series[bool]":
        """Whether each run has rows in the table."""
        return self.runs["directory"].isin(self.drawn["directory"])

    def check(self, by: str | None, x: str | None) -> None:
        """Check the options --by and --x of scripts/draw.py; None is an option that was not given.

        Raises:
            ValueError: the table has no column `by` or no numeric column `x`.
        """
        if by is not None:
            check_column("--by", by, self.drawn)
        if x is not None:
            check_column("--x", x, self.drawn, numeric=True)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables that are sent to W&B, by name."""
        return {self.name: self.drawn}

    def show(self) -> None:
        """Print the damaged files, and if some runs are missing how many are drawn, and which are not."""
        print_first("damaged", [str(error) for error in self.damaged.values()])
        if self.always_counts or not self.has_rows.all():
            print_table(self.counts())
        missing = self.runs.assign(name=short_names(self.runs["name"]))[~self.has_rows]
        print_first("missing", [f"{row['name']}: {row['status']}" for _, row in missing.iterrows()])

    def counts(self) -> Table:
        """Build a table of the number of runs, and of runs drawn, for each status."""
        by_status = self.has_rows.groupby(self.runs["status"], sort=False)
        rows = [(str(status), str(len(drawn)), str(int(drawn.sum()))) for status, drawn in by_status]
        return number_table("Runs", ("status", "runs", "drawn"), rows)

    def answer(self) -> dict[str, Any] | None:
        """Return the results that are written as JSON beside the figure, or None to write no such file."""
        return None


def number_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str | None = None
) -> Table:
    """Build a table for the terminal with a first column of names and further columns of numbers.

    Args:
        title: Title above the table.
        headings: Headings of all columns.
        rows: The cells of each row.
        caption: Text below the table.
    """
    table = Table(headings[0], title=title, title_justify="left", caption=caption)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def print_first(heading: str, lines: Sequence[str]) -> None:
    """Print the first `SHOWN` lines, each preceded by the heading, and the number of further lines."""
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    print_lines(*(f"{heading}: {line}" for line in [*lines[:SHOWN], *more]))


def _leave_out(table: pd.DataFrame, without: Sequence[str]) -> pd.DataFrame:
    for setting in without:
        key, _, value = setting.partition("=")
        check_column("--without", key, table)
        numbers = pd.to_numeric(table[key], errors="coerce")
        has_value = (table[key].astype(str) == value) | (numbers == pd.to_numeric(value, errors="coerce"))  # 0 is 0.0
        if not has_value.any():
            values = ", ".join(map(str, table[key].unique()))
            raise ValueError(f"--without = {setting}: no run has this value of {key}; choose one of {values}")
        table = table[~has_value]
    return table


def short_names(names: "pd.Series[str]") -> "pd.Series[str]":
    """Shorten the names of runs, which consist of overrides, by the overrides that all runs share."""
    overrides = names.str.split(" ")
    common = set.intersection(*map(set, overrides)) if len(overrides) > 1 else set()
    return overrides.map(lambda words: " ".join(word for word in words if word not in common))
