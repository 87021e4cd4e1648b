"""Draw one figure from the tables of all simulations of a multirun."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from start_training.analysis.sweep_table import override_settings
from start_training.config.build import build_partial
from start_training.config.errors import print_error
from start_training.figures.save import save_figure
from start_training.files.damaged_file import DamagedFile
from start_training.reports.run_report import relative
from start_training.reports.sweep_figure import mirror_figures
from start_training.reports.terminal import print_lines
from start_training.runs.directory import RunDirectory
from start_training.runs.documents import read_csv
from start_training.runs.job import Job
from start_training.runs.table import write_table

_finished_jobs: dict[Path, list[Job]] = {}  # finished jobs of the present multirun, by the path of their figure


def remember_simulation(job: Job) -> None:
    """Remember a finished job for the figure of its multirun, if the job's config has a figure."""
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    if not in_sweep or hydra.job.num == 0:
        _finished_jobs.clear()  # forget the jobs of an earlier command in this process
    directory = Path(hydra.runtime.cwd, hydra.sweep.dir if in_sweep else hydra.runtime.output_dir)
    experiment = hydra.runtime.choices.get("experiment")
    name = "figure" if experiment in (None, "none") else str(experiment).rpartition("/")[2]
    if job.config["figure"]:
        _finished_jobs.setdefault(directory / name, []).append(job)


def draw_multirun_figures() -> None:
    """Draw the figure of the remembered jobs, and print the paths of its files; without remembered jobs do nothing."""
    for path, jobs in _finished_jobs.items():
        print_lines(f"figure: {', '.join(str(relative(file)) for file in draw_sweep_figure(jobs, path))}")


def draw_sweep_figure(jobs: Sequence[Job], path: Path) -> list[Path]:
    """Draw the figure of several finished simulations, and log it to W&B together with its table.

    Args:
        jobs: The jobs of the simulations. The key `figure` of the first job's config is the function that draws the
            figure from the table of `sweep_table`.
        path: Path of the files to write, without suffix; its name is also the name of the W&B run.

    Returns:
        The written files: the figure as .png and .pdf, and the table as .csv.
    """
    table = sweep_table(jobs)
    figure = build_partial(jobs[0].config["figure"], "figure")(table)
    files = save_figure(figure, path)
    csv = write_table(table, path.with_name(f"{path.name}.csv"))
    directory = path.parent
    mirrored = replace(jobs[0], directory=directory, overrides=(path.name,), sweep=directory.resolve().name)
    mirror_figures(mirrored, {path.name: files[0]}, {"layers": table})
    return [*files, csv]


def sweep_table(jobs: Sequence[Job]) -> pd.DataFrame:
    """Concatenate the layer tables of finished simulations.

    Returns:
        A table with the columns of layers.csv and, for each simulation, `simulation` (its number), `depth` (number of
        layers), `nets` (number of nets), and a column for each overridden setting.
    """
    tables = []
    for number, job in enumerate(jobs):
        try:
            layers = read_csv(job.directory / "layers.csv", ["layer", "name"])
            nets = (RunDirectory(job.directory).summary() or {}).get("nets")
        except DamagedFile as error:
            print_error(error)
            continue
        numbers = {"simulation": number, "depth": len(layers) - 1, "nets": nets}
        tables.append(layers.assign(**numbers, **_settings(job)))
    if not tables:
        raise ValueError(f"hydra.sweep.dir = {jobs[0].directory.parent}: none of its simulations can be read")
    return pd.concat(tables, ignore_index=True)


def _settings(job: Job) -> dict[str, str]:
    """Return the overridden settings, without nets and depth, which `sweep_table` adds itself."""
    return {key: value for key, value in override_settings(job.overrides).items() if key not in ("nets", "depth")}
