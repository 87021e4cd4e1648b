"""The runs of a sweep, of which it is known when their training started: a row each, and the relation they show."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from start_training.figures.start_of_training import relation_of, start_points
from start_training.reports.sweep_tables import SweepTable, tell


class StartedRuns(SweepTable):
    """What `start_training.figures.start_of_training` draws."""

    kind = name = "runs"
    all_counts = True

    def _drawn(self) -> pd.DataFrame:
        return self.runs

    @cached_property
    def there(self) -> "pd.Series[bool]":
        """Of each run, whether it says that training started, or did not."""
        return self.runs["started"].notna()

    def _nothing(self) -> str:
        said = super()._nothing()
        return (
            said if "yet" in said else ("no run says when training started, which callbacks=start_of_training records")
        )

    def counts(self) -> Table:
        shown = Table("status", title="Runs", title_justify="left")
        for heading in ("runs", "started", "never", "unknown"):
            shown.add_column(heading, justify="right")
        for status, rows in self.runs.groupby("status", sort=False):
            never = int((~rows["started"].dropna().astype(bool)).sum())
            numbers = [len(rows), int(rows["started"].sum()), never, int(rows["started"].isna().sum())]
            shown.add_row(str(status), *map(str, numbers))
        return shown

    def show(self, node: Mapping[str, Any]) -> None:
        """Beside that, which configurations have fewer runs than others, and the relation."""
        super().show(node)
        console, x = Console(), _first(node.get("x", "depth"))
        points = start_points(self.drawn, by=node.get("by"), x=x)
        most = points["runs"].max()
        fewer = points[points["runs"] < most]
        lines = [f"{row['by']}, {x} {row['x']:g}: {row['runs']}" for _, row in fewer.iterrows()]
        tell(console, f"of fewer than {most} seeds", lines)
        if points.duplicated(["by", "x"]).any():
            text = "several configurations lie at one point of a curve: another --by or --x tells them apart"
            console.print(text, soft_wrap=True)
        if node.get("relation"):
            console.print(relation_of(self.drawn, node["relation"]), soft_wrap=True, highlight=False)


def _first(columns: Any) -> str:
    return columns if isinstance(columns, str) else columns[0]
