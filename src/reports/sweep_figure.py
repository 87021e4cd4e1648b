"""Draw the figure of a sweep of training runs, finished or not, print its results, and write its table."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import wandb
import yaml
from omegaconf import OmegaConf

from start_training.config.build import build_partial
from start_training.config.composed import CONF
from start_training.config.loggers import build_loggers, start_loggers
from start_training.config.mistakes import accepts, target_of
from start_training.figures import table_of_figure
from start_training.figures.save import save_figure
from start_training.files.disk_errors import named_disk_errors
from start_training.files.replaced_file import replace_text
from start_training.reports import run_report
from start_training.reports.growth_runs import GrowthRuns
from start_training.reports.phase_runs import PhaseRuns
from start_training.reports.range_tests import RangeTests
from start_training.reports.started_runs import StartedRuns
from start_training.reports.sweep_tables import SweepTable
from start_training.reports.terminal import print_lines
from start_training.runs.directory import RunDirectory
from start_training.runs.documents import finite
from start_training.runs.job import Job
from start_training.runs.table import write_table

TARGET = "start_training.figures.start_of_training.draw_start_of_training"
NAMED = {  # figures that can be drawn of any sweep, by name
    "start": TARGET,
    "range_test": "start_training.figures.range_test.draw_range_test",
    "phase": "start_training.figures.phase_slope.draw_phase_slope",
    "phase_trajectory": "start_training.figures.phase_trajectory.draw_phase_trajectory",
}
SCRIPTS = ("train", "range_test")  # commands whose sweeps are drawn here
TABLES = {table.kind: table for table in (StartedRuns, SweepTable, RangeTests, PhaseRuns, GrowthRuns)}


def draw_sweep(
    directory: Path,
    figure: str | Mapping[str, Any],
    *,
    name: str = "figure",
    by: str | None = None,
    x: str | None = None,
    without: Sequence[str] = (),
    logger: Mapping[str, Any] | None = None,
    trust: Collection[str] = (),
) -> list[Path]:
    """Collect the runs of a sweep, draw their figure, and print and write their results.

    The files name.png, name.pdf, name.csv and name.parquet are written into `directory`, and for range tests and phases
    also name.json with their results. Runs that have not finished are drawn as far as they have been recorded.

    Args:
        directory: Directory of the sweep.
        figure: Name of an experiment that has a figure, a key of `NAMED`, module.function of a function that draws, or
            the `figure` node of a config.
        name: Name of the files if `figure` is a node; otherwise the name of the figure is used.
        by: Column that replaces the figure's setting `by`.
        x: Column that replaces the figure's setting `x`.
        without: Settings `key=value` whose runs are left out; the values are added to the names of the files.
        logger: The `logger` node of a config; if it contains W&B, the figure and the tables are sent there.
        trust: Packages of the user that the configs of the runs may name.

    Returns:
        The files written.

    Raises:
        ValueError: there is no such figure or column, the directory holds no runs, or no run has recorded what the
            figure draws.
    """
    if isinstance(figure, str):
        node = figure_node(figure.rpartition("/")[2])  # the figure of the experiment zhang/scaling is named scaling
        name = re.split(r"[/.]", figure)[-1]
    else:
        node = dict(figure)
    for key, value in {"by": by, "x": x}.items():
        if value is not None:
            if not accepts(node, "figure", key):
                raise ValueError(f"--{key} = {value}: the figure {name} has no such setting; must be left out")
            node[key] = value
    draw = build_partial(node, "figure")
    table = table_of(node)(directory, node, without, trust)
    table.check(by, x)
    name = "-without-".join([name, *(setting.partition("=")[2] for setting in without)])
    table.show()
    files = _save(directory, name, table, draw)
    if logger is not None:
        config, sweep = {"figure": node, "logger": logger}, directory.resolve().name
        mirrored = Job(config, directory, overrides=(name,), sweep=sweep, command="draw")
        mirror_figures(mirrored, {name: files[0]}, table.tables())
    print_lines(f"figure: {', '.join(str(run_report.relative(file)) for file in files)}")
    return files


def figure_node(name: str) -> dict[str, Any]:
    """Return the config of a figure by its name: of an experiment of conf/, in `NAMED`, or package.module.function.

    Raises:
        ValueError: no experiment of training runs with this name has a figure.
    """
    if "." in name:
        return {"_target_": name}
    if name in NAMED:
        return {"_target_": NAMED[name]}
    experiments = {path.stem: yaml.safe_load(path.read_text()) for path in CONF.glob("experiment/*/*.yaml")}
    drawn = [key for key, node in experiments.items() if node.get("script", "train") in SCRIPTS and node.get("figure")]
    if name in drawn:
        return dict(experiments[name]["figure"])
    if (script := experiments.get(name, {}).get("script", "train")) not in SCRIPTS:
        raise ValueError(f"figure = {name}: drawn by the command {script} at the end of its sweep, not by draw")
    raise ValueError(
        f"figure = {name}: no such figure of training runs; choose one of {', '.join(sorted([*drawn, *NAMED]))}, or "
        "a function of your own as module.function"
    )


def table_of(node: Mapping[str, Any]) -> type[SweepTable]:
    """Return the class of the table that a figure is drawn from, as declared by `start_training.figures.draws`.

    Args:
        node: The `figure` node of a config.

    Raises:
        ValueError: the figure cannot be imported, or declares a table that does not exist.
    """
    return TABLES[table_of_figure(target_of(node, "figure"))]


def wandb_node() -> dict[str, Any]:
    """Return the `logger` node with W&B as its only logger; offline unless the variable WANDB_MODE says otherwise."""
    resolved = OmegaConf.to_container(OmegaConf.load(CONF / "logger" / "wandb.yaml"), resolve=True)
    assert isinstance(resolved, dict)
    return {"wandb": resolved["wandb"]}


def mirror_figures(
    job: Job,
    images: Mapping[str, Path],
    tables: Mapping[str, pd.DataFrame],
    *,
    summary: Mapping[str, Any] | None = None,
    text: str = "",
    page: Path | None = None,
) -> None:
    """Send figures, tables and an HTML page to W&B if it is among the loggers in the job's config.

    Args:
        job: Job that gives the W&B run its name, and its group, which is the name of the sweep.
        images: Image files by the name of their figure.
        tables: Tables by name.
        summary: Plain data for the summary of the W&B run.
        text: Markdown for the notes of the W&B run.
        page: HTML page that becomes an artifact.
    """
    directory = job.directory.resolve()  # W&B's process may have another working directory
    loggers = build_loggers(job, RunDirectory(directory))
    try:
        start_loggers(loggers, job.config)
        if wandb.run is not None:
            if text:
                wandb.run.notes = text
            # W&B cannot read the data types and missing values of pandas, only Python objects and None.
            plain = {key: table.astype(object).where(table.notna(), None) for key, table in tables.items()}
            shown = {key: wandb.Table(dataframe=table) for key, table in plain.items()}
            wandb.run.log({name: wandb.Image(str(image)) for name, image in images.items()} | shown)
            wandb.run.summary.update(dict(summary or {}))
            if page is not None:
                artifact = wandb.Artifact(f"report-{wandb.run.id}", type="report")
                artifact.add_file(str(page.resolve()), name="report.html")
                wandb.run.log_artifact(artifact)
    finally:
        if wandb.run is not None:
            wandb.finish()


def _save(directory: Path, name: str, table: SweepTable, draw: Callable[..., Any]) -> list[Path]:
    """Write figure, table and results; all of them replace earlier files when they are complete."""
    with TemporaryDirectory(prefix=".figure-", dir=directory) as folder, named_disk_errors(directory / name):
        path = Path(folder) / name
        written = save_figure(draw(table.drawn), path)
        written += [write_table(table.drawn, Path(f"{path}.{kind}")) for kind in ("csv", "parquet")]
        if (answer := table.answer()) is not None:
            written.append(Path(f"{path}.json"))
            replace_text(written[-1], json.dumps(finite(answer), indent=2, allow_nan=False) + "\n")
        return [file.replace(directory / file.name) for file in written]
