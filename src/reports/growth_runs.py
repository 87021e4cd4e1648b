"""The runs of a sweep with both phases and lengths of their layers, and what their figure says in numbers."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from start_training.figures.labels import label
from start_training.figures.two_papers import RATES, mean_rates
from start_training.reports.sweep_tables import SweepTable


class GrowthRuns(SweepTable):
    """What `start_training.figures.two_papers` draws: a row for each layer and each step with a phase and lengths."""

    kind = "growth"
    name = "growth"
    holds = "layers with phases and lengths, which callbacks=phase_and_lengths records"

    def show(self, node: Mapping[str, Any]) -> None:
        """Beside that, a table of both rates at initialization and at the end of training, and of test accuracy."""
        super().show(node)
        by = {"by": node["by"]} if "by" in node else {}
        Console().print(_table(mean_rates(self.drawn, **by)))


def _table(rates: pd.DataFrame) -> Table:
    shown = Table(title="Nats per layer, later half of the layers", title_justify="left")
    shown.add_column("", no_wrap=True)
    for heading in ("step", "log χ", "growth", "accuracy"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for (activation, option), rows in rates.groupby(["activation", "option"], sort=False):
        runs = rows.groupby("directory", sort=False)
        accuracy = runs["final_accuracy"].first().mean()
        shown.add_row(f"{label(activation)}, {option}", *_cells(runs.head(1)), "")
        shown.add_row("", *_cells(runs.tail(1)), "" if pd.isna(accuracy) else f"{accuracy:.1%}")
    return shown


def _cells(rows: pd.DataFrame) -> list[str]:
    """Of one row of each run: the step, and the mean of each rate ± its standard error."""
    means, errors = rows[RATES].mean(), rows[RATES].sem()
    rates = [f"{round(means[name], 2) + 0.0:+.2f}" for name in RATES]
    spread = [f" ± {errors[name]:.2f}" if len(rows) > 1 else "" for name in RATES]
    return [str(rows["step"].max()), *(rate + error for rate, error in zip(rates, spread, strict=True))]
