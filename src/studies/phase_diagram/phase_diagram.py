"""The phase diagram of a random layer, simulated and in theory: from a job to the figures in its directory."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import wandb
from numpy.typing import NDArray
from pytorch_lightning.loggers import WandbLogger
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from start_training.config.loggers import build_loggers, start_loggers
from start_training.config.mistakes import settings_in
from start_training.figures.phase_diagram import draw_finite_size, draw_phase_diagram
from start_training.figures.save import save_figure
from start_training.order_chaos.asymptotic_distance import asymptotic_distances
from start_training.order_chaos.random_layer import draw_layer
from start_training.order_chaos.relu_growth import relu_growth
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.outcome import Interrupted
from start_training.runs.table import Table
from start_training.studies.phase_diagram import tables as tables
from start_training.studies.phase_diagram.settings import Settings

Array = NDArray[np.float64]
Advance = Callable[[int], object]


@dataclass(frozen=True)
class Stage:
    """A part of the work: `count` matrices, each of so many points, and what is kept of one, a row for each point."""

    name: str
    count: int
    points: int
    of_matrix: Callable[[int, Advance], pd.DataFrame]


@dataclass
class PhaseDiagram:
    """A finished phase diagram: its job, tables by name, and its summary."""

    job: Job
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)


def phase_diagram(job: Job) -> PhaseDiagram:
    """Simulate the matrices that the job's directory does not hold yet, then write its tables, figures and summary.

    Directory: tanh/, relu/ and finite_size/ (a row for each matrix and point), diagram_tanh.parquet and
    diagram_relu.parquet (means over matrices beside theory), boundary.csv, finite_size_distances.csv and
    finite_size_transitions.csv, figures/phase_diagram.png and figures/finite_size.png with their .pdf, config.yaml,
    and summary.json, written last.
    A signal leaves the matrices that are done, to go on from, and raises `Interrupted`.
    Raises ValueError for a setting that cannot be used, or a directory that holds something else.
    """
    run = RunDirectory(job.directory)
    run.claim(job.config)
    try:
        settings = Settings.of(job.config)
        if not run.holds_results:
            run.begin(job.config)
        began = time.monotonic()
        measured = _simulated(stages(settings), run, progress=bool(job.config["progress"]))
        finished = _evaluated(job, settings, measured)
        finished.summary |= {"seconds": round(time.monotonic() - began, 3)}
        with settings_in(job.config):
            _leave(finished, settings, run)
    finally:
        if wandb.run is not None:
            wandb.finish()
        run.release()
    return finished


def stages(settings: Settings) -> list[Stage]:
    """What there is to simulate, by the names of its tables."""
    found = []
    if "tanh" in settings.activations:
        found.append(Stage("tanh", settings.matrices, settings.points, partial(_tanh_matrix, settings)))
    if "relu" in settings.activations:
        found.append(Stage("relu", settings.matrices, settings.columns.bins, partial(_relu_matrix, settings)))
    if (sizes := settings.finite_size) is not None:
        count = sizes.matrices * len(sizes.N)
        found.append(Stage("finite_size", count, sizes.inverse_J.bins, partial(_finite_size_matrix, settings)))
    return found


def _tanh_matrix(settings: Settings, number: int, advance: Advance) -> pd.DataFrame:
    layer = draw_layer(settings.N, seed=settings.seed, number=number, device=settings.device)
    inverse_J, ratio = np.meshgrid(settings.rows.centres, settings.columns.centres, indexing="ij")
    blocks = []
    for block in asymptotic_distances(
        layer, ratio / inverse_J, 1 / inverse_J, iterations=settings.iterations, average=settings.average
    ):
        advance(len(block))
        blocks.append(block)
    return pd.DataFrame({"distance": np.concatenate(blocks)})


def _relu_matrix(settings: Settings, number: int, advance: Advance) -> pd.DataFrame:
    layer = draw_layer(settings.N, seed=settings.seed, number=number, device=settings.device)
    ratios = settings.columns.centres
    growth = relu_growth(layer, ratios, iterations=settings.iterations, average=settings.average)
    advance(len(ratios))
    return pd.DataFrame(growth._asdict())


def _finite_size_matrix(settings: Settings, number: int, advance: Advance) -> pd.DataFrame:
    sizes = settings.finite_size
    assert sizes is not None
    of_size, matrix = divmod(number, sizes.matrices)
    layer = draw_layer(sizes.N[of_size], seed=settings.seed, number=matrix, device=settings.device)
    J = 1 / sizes.inverse_J.centres
    blocks = list(asymptotic_distances(layer, 0 * J, J, iterations=sizes.iterations, average=settings.average))
    advance(len(J))
    return pd.DataFrame({"N": sizes.N[of_size], "distance": np.concatenate(blocks)})


def _simulated(work: list[Stage], run: RunDirectory, *, progress: bool) -> dict[str, pd.DataFrame]:
    """All rows of each stage; matrices that an earlier call left are read."""
    bar_columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TaskProgressColumn())
    time_left = TimeRemainingColumn(elapsed_when_finished=True)
    measured = {}
    try:
        with Progress(*bar_columns, time_left, console=Console(stderr=True), disable=not progress) as bar:
            for stage in work:
                table = Table(run.path / stage.name, key="matrix")
                done = _matrices(table)
                task = bar.add_task(stage.name, total=stage.count * stage.points, completed=done * stage.points)
                for number in range(done, stage.count):
                    rows = stage.of_matrix(number, partial(bar.advance, task))
                    rows.insert(0, "matrix", number)
                    table.append(rows)
                table.compact()
                rows_of_all = table.read()
                assert rows_of_all is not None
                measured[stage.name] = rows_of_all
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    return measured


def _matrices(table: Table) -> int:
    rows = table.read()
    return 0 if rows is None else int(rows["matrix"].max()) + 1


def _evaluated(job: Job, settings: Settings, measured: Mapping[str, pd.DataFrame]) -> PhaseDiagram:
    """Tables and agreement with theory, from what was simulated."""
    columns, rows, found = settings.columns, settings.rows, PhaseDiagram(job)
    if "tanh" in measured:
        distances = _by_matrix(measured["tanh"], "distance")
        found.tables["diagram_tanh"] = tables.tanh_diagram(columns, rows, distances)
        found.tables["boundary"] = tables.tanh_boundary(columns, rows, distances)
        found.summary["tanh"] = tables.tanh_agreement(columns, rows, distances)
    if "relu" in measured:
        norms, growths = (_by_matrix(measured["relu"], name) for name in ("norm", "distance"))
        found.tables["diagram_relu"] = tables.relu_diagram(columns, rows, norms, growths)
        found.summary["relu"] = tables.relu_agreement(columns, growths)
    if (sizes := settings.finite_size) is not None:
        of_sizes = _by_size(measured["finite_size"])
        found.tables["finite_size_distances"] = tables.finite_size_table(sizes.inverse_J, of_sizes)
        found.tables["finite_size_transitions"] = tables.finite_size_transitions(sizes.inverse_J, of_sizes)
        found.summary["finite_size"] = tables.finite_size_agreement(found.tables["finite_size_transitions"])
    found.summary = {
        "status": "completed",
        "N": settings.N,
        "matrices": settings.matrices,
        **found.summary,
        **job.origin,
    }
    return found


def _by_matrix(rows: pd.DataFrame, name: str) -> Array:
    """(matrices, points)."""
    return rows[name].to_numpy().reshape(rows["matrix"].nunique(), -1)


def _by_size(rows: pd.DataFrame) -> dict[int, Array]:
    """(matrices, points) for each N."""
    return {N: _by_matrix(rows[rows["N"] == N], "distance") for N in sorted(set(rows["N"].tolist()))}


def _leave(finished: PhaseDiagram, settings: Settings, run: RunDirectory) -> None:
    """Tables, figures, W&B and, last, the summary; nothing new where the diagram was finished before."""
    if (summary := run.summary()) is not None and summary["status"] == "completed":
        finished.summary = summary
        return
    for name, table in finished.tables.items():
        if name.startswith("diagram"):
            table.to_parquet(run.path / f"{name}.parquet", index=False)
        else:
            table.to_csv(run.path / f"{name}.csv", index=False)
    figures = {}
    if settings.activations:
        figures["phase_diagram"] = draw_phase_diagram(finished.tables, N=settings.N, matrices=settings.matrices)
    if settings.finite_size is not None:
        figures["finite_size"] = draw_finite_size(
            finished.tables["finite_size_distances"], finished.tables["finite_size_transitions"]
        )
    files = {name: save_figure(figure, run.path / "figures" / name)[0] for name, figure in figures.items()}
    loggers = build_loggers(finished.job, run)
    start_loggers(loggers, finished.job.config)
    if any(isinstance(logger, WandbLogger) for logger in loggers) and wandb.run is not None:
        small = {name: wandb.Table(dataframe=table) for name, table in finished.tables.items() if "diagram" not in name}
        wandb.run.log({name: wandb.Image(str(file)) for name, file in files.items()} | small)
        wandb.run.summary.update(finished.summary)
    run.write_summary(finished.summary)
