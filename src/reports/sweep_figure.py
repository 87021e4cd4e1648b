"""Draw a sweep of training runs, finished or not: its table, its figure, and what they say."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
import yaml
from omegaconf import OmegaConf
from rich.console import Console

from start_training.config.build import build_partial
from start_training.config.composed import CONF
from start_training.config.loggers import build_loggers, start_loggers
from start_training.config.mistakes import target_of
from start_training.figures.save import save_figure
from start_training.reports import run_report
from start_training.reports.growth_runs import GrowthRuns
from start_training.reports.phase_runs import PhaseRuns
from start_training.reports.range_tests import RangeTests
from start_training.reports.started_runs import StartedRuns
from start_training.reports.sweep_tables import SweepTable
from start_training.runs.directory import RunDirectory, finite
from start_training.runs.job import Job

TARGET = "start_training.figures.start_of_training.draw_start_of_training"
NAMED = {  # the figures of anyone's own sweep
    "start": TARGET,
    "range_test": "start_training.figures.range_test.draw_range_test",
    "phase": "start_training.figures.phase_slope.draw_phase_slope",
    "phase_trajectory": "start_training.figures.phase_trajectory.draw_phase_trajectory",
}
SCRIPTS = ("train", "range_test")  # whose sweeps are drawn here
TABLES = (StartedRuns, RangeTests, PhaseRuns, GrowthRuns, SweepTable)


def draw_sweep(
    directory: Path,
    figure: str | Mapping[str, Any],
    *,
    name: str = "figure",
    by: str | None = None,
    x: str | None = None,
    without: Sequence[str] = (),
    logger: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Collect the runs of a sweep and draw them, as far as they have come; returns the files written.

    figure: the name of an experiment whose figure it is, one of `NAMED`, or a config's `figure` node, drawn under
    `name`. by, x: columns of the table to use in place of the figure's own. without: settings, key=value, whose
    runs are left out, as the name of the files then says. logger: a config's `logger` node, of which W&B gets
    the tables and the figure. Written into `directory`, each at once: name.png, .pdf, .csv, .parquet, and for range
    tests and phases .json, what they suggest or say.
    Raises ValueError for a directory without runs, or without one that has left what is drawn.
    """
    if isinstance(figure, str):
        name = figure.rpartition("/")[2]  # zhang/scaling, as the experiment is called, is scaling
        node = figure_node(name)
    else:
        node = dict(figure)
    node |= {key: value for key, value in {"by": by, "x": x}.items() if value is not None}
    draw = build_partial(node, "figure")
    table = table_of(node)(directory, tuple(without))
    table.check(by, x)
    name = "-without-".join([name, *(setting.partition("=")[2] for setting in without)])
    table.show(node)
    files = _save(directory, name, table, node, draw)
    if logger is not None:
        mirrored = Job({"figure": node, "logger": logger}, directory, overrides=(name,), sweep=directory.resolve().name)
        mirror_figures(mirrored, {name: files[0]}, table.tables(node))
    Console().print(f"figure: {', '.join(str(run_report.relative(file)) for file in files)}", soft_wrap=True)
    return files


def figure_node(name: str) -> dict[str, Any]:
    """The `figure` of the experiment of training runs that has this name. Raises ValueError where none has."""
    if name in NAMED:
        return {"_target_": NAMED[name]}
    experiments = {path.stem: yaml.safe_load(path.read_text()) for path in CONF.glob("experiment/*/*.yaml")}
    drawn = [key for key, node in experiments.items() if node.get("script", "train") in SCRIPTS and node.get("figure")]
    if name in drawn:
        return dict(experiments[name]["figure"])
    if (script := experiments.get(name, {}).get("script", "train")) not in SCRIPTS:
        raise ValueError(f"figure = {name}: the command {script} draws it, at the end of its sweep")
    raise ValueError(
        f"figure = {name}: no such figure of training runs; there are {', '.join(sorted([*drawn, *NAMED]))}"
    )


def table_of(node: Mapping[str, Any]) -> type[SweepTable]:
    """What a figure is drawn from, as `TABLE` of its module says; a row for each run where it says nothing.

    Raises ValueError for a figure that cannot be imported, or another table.
    """
    kinds = {table.kind: table for table in TABLES}
    kind = getattr(sys.modules.get(target_of(node, "figure").__module__), "TABLE", StartedRuns.kind)
    if kind not in kinds:
        raise ValueError(f"figure._target_ = {node['_target_']}: its TABLE = {kind!r} is none of {', '.join(kinds)}")
    return kinds[kind]


def wandb_node() -> dict[str, Any]:
    """The `logger` of conf/ that is W&B alone; offline unless the environment's WANDB_MODE says otherwise."""
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
) -> None:
    """Send figures and tables to W&B, if the job's config has it among its loggers.

    Args:
        job: The W&B run has its name, and its sweep as group.
        images: Files by the name of the figure.
        tables: By name.
        summary: Plain data for the W&B run's summary.
        text: Markdown, which W&B shows as the run's notes.
    """
    directory = job.directory.resolve()  # W&B's own process may have been started in another one
    loggers = build_loggers(job, RunDirectory(directory))
    try:
        start_loggers(loggers, job.config)
        if wandb.run is not None:
            if text:
                wandb.run.notes = text
            shown = {key: wandb.Table(dataframe=_plain(table)) for key, table in tables.items()}
            wandb.run.log({name: wandb.Image(str(image)) for name, image in images.items()} | shown)
            wandb.run.summary.update(dict(summary or {}))
    finally:
        if wandb.run is not None:
            wandb.finish()


def _save(
    directory: Path, name: str, table: SweepTable, node: Mapping[str, Any], draw: Callable[..., Any]
) -> list[Path]:
    """Each file beside, then in its place: a reader meets none that is half written."""
    beside = f".{name}.partial"
    written = save_figure(draw(table.drawn), directory / beside)
    for kind, write in (("csv", table.drawn.to_csv), ("parquet", table.drawn.to_parquet)):
        written.append(directory / f"{beside}.{kind}")
        write(written[-1], index=False)
    if (answer := table.answer(node)) is not None:
        written.append(directory / f"{beside}.json")
        written[-1].write_text(json.dumps(finite(answer), indent=2, allow_nan=False) + "\n")
    files = [directory / f"{name}{path.suffix}" for path in written]
    for path, file in zip(written, files, strict=True):
        os.replace(path, file)
    return files


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """With objects and None, which W&B knows, in place of pandas' own types and missing values."""
    return table.astype(object).where(table.notna(), None)
