"""Report about the start of training in the runs of a sweep."""

from functools import cached_property

import pandas as pd
from rich.table import Table

from start_training.analysis.start_points import start_points
from start_training.analysis.start_relation import relation_text
from start_training.reports.sweep_tables import SweepTable, number_table, print_first
from start_training.reports.terminal import print_lines


class StartedRuns(SweepTable):
    """Table with one row for each run, for `start_training.figures.start_of_training`."""

    kind = name = "runs"
    needed = "recorded the start of training; train with callbacks=start_of_training"
    always_counts = True

    def _drawn(self) -> pd.DataFrame:
        return self.runs[~self.runs["directory"].isin(self.damaged)]

    @cached_property
    def has_rows(self) -> "pd.Series[bool]":
        """Whether it is known of each run that its training started or never started."""
        return self.runs["started"].notna() & ~self.runs["directory"].isin(self.damaged)

    def counts(self) -> Table:
        rows = []
        for status, started in self.runs["started"].groupby(self.runs["status"], sort=False):
            counts = (len(started), started.sum(), started.count() - started.sum(), started.isna().sum())
            rows.append((str(status), *map(str, map(int, counts))))
        return number_table("Runs", ("status", "runs", "started", "never", "unknown"), rows)

    def show(self) -> None:
        """Print counts, missing runs, configurations with fewer seeds than others, and the relation of start epochs."""
        super().show()
        x = self.node.get("x", "depth")
        x = x if isinstance(x, str) else x[0]
        points = start_points(self.drawn, by=self.node.get("by"), x=x)
        most = points["runs"].max()
        fewer = points[points["runs"] < most]
        lines = [f"{row['by']}, {x} {row['x']:g}: {row['runs']}" for _, row in fewer.iterrows()]
        print_first(f"fewer than {most} seeds", lines)
        if points.duplicated(["by", "x"]).any():
            print_lines("some points belong to several configurations: choose another --by or --x to separate them")
        if relation := self.node.get("relation"):
            print_lines(relation_text(self.drawn, relation))
