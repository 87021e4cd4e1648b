"""Draw a sweep of training runs, finished or not: its table, its figure, and the relation it is to show."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
import yaml
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from src.figures.save import save_figure
from src.figures.start_of_training import check_column, relation_of, start_points
from src.jobs import report
from src.jobs.loggers import build_loggers, start_loggers
from src.jobs.record import Job
from src.runs.build import build_partial
from src.runs.directory import FINISHED, RunDirectory
from src.runs.sweep_table import sweep_table

CONF = Path(__file__).parents[2] / "conf"
START = "start"  # the figure of anyone's own sweep
TARGET = "src.figures.start_of_training.draw_start_of_training"
SHOWN = 10  # runs that are named one by one


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

    figure: the name of an experiment whose figure it is, `start`, or a config's `figure` node, drawn under `name`.
    by, x: columns of the table to use in place of the figure's own. without: settings, key=value, whose runs are
    left out, as the name of the files then says. logger: a config's `logger` node, of which W&B
    gets the table and the figure. Written into `directory`, each at once: name.png, .pdf, .csv, .parquet.
    Raises ValueError for a directory without runs, or without one that says when training started.
    """
    if isinstance(figure, str):
        name, node = figure, figure_node(figure)
    else:
        node = dict(figure)
    node |= {key: value for key, value in {"by": by, "x": x}.items() if value is not None}
    draw = build_partial(node, "figure")
    table = sweep_table(directory)
    for setting in without:
        table, name = _left_out(table, setting), f"{name}-without-{setting.partition('=')[2]}"
    _check(directory, table, by, x)
    show(table, node)
    files = _save(directory, name, table, draw)
    if logger is not None:
        mirror_figure({"figure": node, "logger": logger}, directory, name, files[0], {"runs": table})
    Console().print(f"figure: {', '.join(str(report.relative(file)) for file in files)}", soft_wrap=True)
    return files


def figure_node(name: str) -> dict[str, Any]:
    """The `figure` of the experiment of training runs that has this name. Raises ValueError where none has."""
    if name == START:
        return {"_target_": TARGET}
    experiments = {path.stem: yaml.safe_load(path.read_text()) for path in CONF.glob("experiment/*/*.yaml")}
    drawn = [key for key, node in experiments.items() if node.get("script", "train") == "train" and node.get("figure")]
    if name in drawn:
        return dict(experiments[name]["figure"])
    if (script := experiments.get(name, {}).get("script", "train")) != "train":
        raise ValueError(f"figure = {name}: scripts/{script}.py draws it, at the end of its sweep")
    raise ValueError(
        f"figure = {name}: no such figure of training runs; there are {', '.join(sorted([*drawn, START]))}"
    )


def wandb_node() -> dict[str, Any]:
    """The `logger` of conf/ that is W&B alone; offline unless the environment's WANDB_MODE says otherwise."""
    resolved = OmegaConf.to_container(OmegaConf.load(CONF / "logger" / "wandb.yaml"), resolve=True)
    assert isinstance(resolved, dict)
    return {"wandb": resolved["wandb"]}


def show(table: pd.DataFrame, node: Mapping[str, Any]) -> None:
    """What was collected, what is missing, and the relation, for the terminal."""
    console = Console()
    console.print(_counts(table))
    known = table["started"].notna()
    missing = table.assign(name=_short_names(table["name"]))[~known]
    _tell(console, "missing", [f"{row['name']}: {row['status']}" for _, row in missing.iterrows()])
    points = start_points(table, by=node.get("by"), x=_first(node.get("x", "depth")))
    fewer = points[points["runs"] < points["runs"].max()]
    lines = [
        f"{row['by']}, {_first(node.get('x', 'depth'))} {row['x']:g}: {row['runs']}" for _, row in fewer.iterrows()
    ]
    _tell(console, f"of fewer than {points['runs'].max()} seeds", lines)
    if points.duplicated(["by", "x"]).any():
        text = "several configurations lie at one point of a curve: another --by or --x tells them apart"
        console.print(text, soft_wrap=True)
    if node.get("relation"):
        console.print(relation_of(table, node["relation"]), soft_wrap=True, highlight=False)


def mirror_figure(
    config: Mapping[str, Any], directory: Path, name: str, image: Path, tables: Mapping[str, pd.DataFrame]
) -> None:
    """Give W&B, where `config["logger"]` has it, the figure and its tables, as a run `name` in the sweep's group."""
    directory = directory.resolve()  # W&B's own process may have been started in another one
    job = Job(config, directory, overrides=(name,), sweep=directory.name)
    loggers = build_loggers(job, RunDirectory(directory))
    try:
        start_loggers(loggers, config)
        if wandb.run is not None:
            shown = {key: wandb.Table(dataframe=_plain(table)) for key, table in tables.items()}
            wandb.run.log({name: wandb.Image(str(image)), **shown})
    finally:
        if wandb.run is not None:
            wandb.finish()


def _left_out(table: pd.DataFrame, setting: str) -> pd.DataFrame:
    key, _, value = setting.partition("=")
    check_column("--without", key, table)
    of_setting = table[key].astype(str) == value
    if not of_setting.any():
        there = ", ".join(map(str, table[key].unique()))
        raise ValueError(f"--without = {setting}: no run has this value of {key}; there are {there}")
    return table[~of_setting]


def _check(directory: Path, table: pd.DataFrame, by: str | None, x: str | None) -> None:
    if not table["started"].notna().any():
        counts = ", ".join(f"{count} {status}" for status, count in Counter(table["status"]).items())
        ended = table["status"].isin(FINISHED).any()
        reason = (
            "no run says when training started, which callbacks=start_of_training records"
            if ended
            else "no run has ended yet"
        )
        raise ValueError(f"SWEEP_DIRECTORY = {directory}: {reason} ({counts})")
    if by is not None:
        check_column("--by", by, table)
    if x is not None:
        check_column("--x", x, table, numeric=True)


def _save(directory: Path, name: str, table: pd.DataFrame, draw: Callable[..., Any]) -> list[Path]:
    """Each file beside, then in its place: a reader meets none that is half written."""
    beside = f".{name}.partial"
    written = save_figure(draw(table), directory / beside)
    for kind, write in (("csv", table.to_csv), ("parquet", table.to_parquet)):
        written.append(directory / f"{beside}.{kind}")
        write(written[-1], index=False)
    files = [directory / f"{name}{path.suffix}" for path in written]
    for path, file in zip(written, files, strict=True):
        os.replace(path, file)
    return files


def _counts(table: pd.DataFrame) -> Table:
    counts = table.assign(known=table["started"].notna()).groupby("status", sort=False)
    shown = Table("status", title="Runs", title_justify="left")
    for heading in ("runs", "started", "never", "unknown"):
        shown.add_column(heading, justify="right")
    for status, rows in counts:
        never = int((~rows["started"].dropna().astype(bool)).sum())
        shown.add_row(
            str(status), str(len(rows)), str(int(rows["started"].sum())), str(never), str(int((~rows["known"]).sum()))
        )
    return shown


def _short_names(names: pd.Series) -> pd.Series:
    """Without the overrides that all runs have in common."""
    words = names.str.split(" ")
    common = set.intersection(*(set(each) for each in words)) if len(words) > 1 else set()
    return words.map(lambda each: " ".join(word for word in each if word not in common))


def _tell(console: Console, heading: str, lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        console.print(f"{heading}: {line}", soft_wrap=True, highlight=False)
    if len(lines) > SHOWN:
        console.print(f"{heading}: and {len(lines) - SHOWN} more", highlight=False)


def _first(columns: Any) -> str:
    return columns if isinstance(columns, str) else columns[0]


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """With objects and None, which W&B knows, in place of pandas' own types and missing values."""
    return table.astype(object).where(table.notna(), None)
