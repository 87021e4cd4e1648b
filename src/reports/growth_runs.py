"""Report about the runs of a sweep that recorded both phases and lengths of their layers."""

import pandas as pd

from start_training.analysis.chi_and_growth import RATES, mean_rates
from start_training.figures.labels import label
from start_training.reports.sweep_tables import SweepTable, number_table
from start_training.reports.terminal import print_table


class GrowthRuns(SweepTable):
    """Table with a row for each layer and step of which phase and lengths are known, for `figures/two_papers.py`."""

    kind = name = "growth"
    needed = "recorded phases and lengths of its layers; train with callbacks=phase_and_lengths"

    def show(self) -> None:
        """Print the missing runs, log χ and the growth of lengths at the first and last step, and the test accuracy."""
        super().show()
        option = self.drawn[self.node.get("by", "initializer")].map(label)
        rates, rows = mean_rates(self.drawn.assign(option=option)), []
        for (activation, name), of_option in rates.groupby(["activation", "option"], sort=False):
            runs = of_option.groupby("directory", sort=False)
            accuracy = runs["final_accuracy"].first().mean()
            rows.append((f"{label(activation)}, {name}", *_cells(runs.head(1)), ""))
            rows.append(("", *_cells(runs.tail(1)), "" if pd.isna(accuracy) else f"{accuracy:.1%}"))
        headings = ("", "step", "log χ", "growth", "accuracy")
        print_table(number_table("Nats per layer, later half of the layers", headings, rows))


def _cells(rows: pd.DataFrame) -> list[str]:
    """Format the step and the mean of each rate ± its standard error, from one row for each run."""
    means, errors = rows[RATES].mean(), rows[RATES].sem()
    spread = [f" ± {errors[name]:.2f}" if len(rows) > 1 else "" for name in RATES]
    rates = [f"{round(means[name], 2) + 0.0:+.2f}{error}" for name, error in zip(RATES, spread, strict=True)]
    return [str(rows["step"].max()), *rates]
