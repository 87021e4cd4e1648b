"""The figure of a whole sweep: drawn once, from the tables of all its simulations."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from start_training.analysis.sweep_table import override_settings
from start_training.config.build import build_partial
from start_training.figures.save import save_figure
from start_training.reports.sweep_figure import mirror_figure
from start_training.runs.job import Job
from start_training.studies.simulate import Simulation


def draw_sweep_figure(
    simulations: Sequence[Simulation], config: Mapping[str, Any], directory: Path, name: str
) -> list[Path]:
    """Draw `config["figure"]` from the table of all simulations into `directory`; returns the files written.

    `name`.csv is the table, `name`.png and `name`.pdf the figure; W&B gets both, as a run of that name.
    """
    table = sweep_table(simulations)
    figure = build_partial(config["figure"], "figure")(table)
    files = save_figure(figure, directory / name)
    csv = directory / f"{name}.csv"
    beside = csv.with_name(f".{csv.name}.partial")
    table.to_csv(beside, index=False)
    os.replace(beside, csv)
    mirror_figure(config, directory, name, files[0], {"layers": table})
    return [*files, csv]


def sweep_table(simulations: Sequence[Simulation]) -> pd.DataFrame:
    """The layer tables of all simulations, one below the other.

    Beside their columns: `simulation`, its number; `depth`, its layers; `nets`; and each setting that was overridden.
    """
    tables = [
        simulation.layers.assign(
            simulation=number,
            depth=len(simulation.layers) - 1,
            nets=len(simulation.log_lengths),
            **_settings(simulation.job),
        )
        for number, simulation in enumerate(simulations)
    ]
    return pd.concat(tables, ignore_index=True)


def _settings(job: Job) -> dict[str, str]:
    """Overrides as columns, but for those that have a column of their own."""
    return {key: value for key, value in override_settings(job.overrides).items() if key not in ("nets", "depth")}
