"""The figure of all simulations of a command line, drawn once from their tables."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from start_training.analysis.sweep_table import override_settings
from start_training.config.build import build_partial
from start_training.figures.save import save_figure
from start_training.reports.run_report import relative
from start_training.reports.sweep_figure import mirror_figures
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.replaced_file import replaced
from start_training.studies.study import print_lines

_noted: dict[Path, list[Job]] = {}  # finished jobs of the present command line, by the stem of their figure's files


def note_simulation(job: Job) -> None:
    """Remember a finished job for the figure of its command line, if its config has one."""
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    if not in_sweep or hydra.job.num == 0:
        _noted.clear()  # what an earlier command line in this process left
    directory = Path(hydra.runtime.cwd, hydra.sweep.dir if in_sweep else hydra.runtime.output_dir)
    name = str(hydra.runtime.choices.get("experiment") or "figure").rpartition("/")[2]
    if job.config["figure"]:
        _noted.setdefault(directory / name, []).append(job)


def draw_figure_of_all() -> None:
    """Draw the figure of the jobs of the last command line, if they ask for one."""
    for path, jobs in _noted.items():
        print_lines(f"figure: {', '.join(str(relative(file)) for file in draw_sweep_figure(jobs, path))}")


def draw_sweep_figure(jobs: Sequence[Job], path: Path) -> list[Path]:
    """Draw the figure of finished simulations.

    Args:
        jobs: The first one's config has the figure as `figure`, a function of the table.
        path: Where it is written, without a suffix. W&B gets the figure and the table as a run of that name.

    Returns:
        The files written: `path`.png, .pdf and .csv, the table.
    """
    table = sweep_table(jobs)
    figure = build_partial(jobs[0].config["figure"], "figure")(table)
    files = save_figure(figure, path)
    csv = path.with_name(f"{path.name}.csv")
    with replaced(csv) as partial:
        table.to_csv(partial, index=False)
    directory = path.parent
    mirrored = replace(jobs[0], directory=directory, overrides=(path.name,), sweep=directory.resolve().name)
    mirror_figures(mirrored, {path.name: files[0]}, {"layers": table})
    return [*files, csv]


def sweep_table(jobs: Sequence[Job]) -> pd.DataFrame:
    """The layer tables of finished simulations, one below the other.

    Returns:
        Beside the columns of layers.csv: `simulation`, its number; `depth`, its layers; `nets`; and each setting that
        was overridden.
    """
    tables = []
    for number, job in enumerate(jobs):
        layers = pd.read_csv(job.directory / "layers.csv")
        summary = RunDirectory(job.directory).summary() or {}
        numbers = {"simulation": number, "depth": len(layers) - 1, "nets": summary["nets"]}
        tables.append(layers.assign(**numbers, **_settings(job)))
    return pd.concat(tables, ignore_index=True)


def _settings(job: Job) -> dict[str, str]:
    """The overridden settings, without those that have a column of their own."""
    return {key: value for key, value in override_settings(job.overrides).items() if key not in ("nets", "depth")}
