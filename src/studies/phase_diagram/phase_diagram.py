"""Simulate the phase diagram of a random layer, and compare it with theory.

The weights of the layer have mean J0/N and standard deviation J/√N; the axes of the diagram are J0/J and 1/J.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table as ShownTable

from start_training.config.composed import SIZES
from start_training.config.devices import check_accelerator
from start_training.figures.phase_diagram import draw_finite_size, draw_phase_diagram
from start_training.order_chaos.asymptotic_distance import asymptotic_distances
from start_training.order_chaos.bins import Bins, BinsFromZero
from start_training.order_chaos.random_layer import ACTIVATIONS, draw_layer
from start_training.order_chaos.relu_growth import relu_growth
from start_training.reports.terminal import print_lines, print_table
from start_training.runs.job import Job
from start_training.runs.table import Table
from start_training.settings import AtLeast, OneOf, PositiveInteger, Seed, checked, whole_number
from start_training.studies.phase_diagram import phase_diagram_tables as phase_tables
from start_training.studies.study import Results, Study, print_figures

Array = NDArray[np.float64]
Units = Annotated[int, AtLeast(2)]  # number of units N; a state of one unit does not deviate from its mean


@checked
@dataclass(frozen=True)
class FiniteSize:
    """The settings of a scan of 1/J at J0 = 0 for several N: keys of `finite_size` in conf/phase_diagram.yaml."""

    N: Sequence[Units]
    matrices: PositiveInteger
    iterations: PositiveInteger
    inverse_J: BinsFromZero

    @property
    def sizes(self) -> list[int]:
        """The values of N, sorted and without repetitions."""
        return sorted(set(self.N))


@checked
@dataclass(frozen=True)
class PhaseDiagramSettings:
    """The settings of the phase diagram: keys of conf/phase_diagram.yaml, which describes them."""

    size: Annotated[str, OneOf(SIZES)]
    seed: Seed
    activations: Sequence[Annotated[str, OneOf(ACTIVATIONS)]]
    N: Units
    matrices: PositiveInteger
    iterations: PositiveInteger
    average: PositiveInteger
    J0_over_J: Bins
    inverse_J: BinsFromZero
    finite_size: FiniteSize | None
    device: Annotated[str, OneOf(("cpu", "cuda"))]
    progress: bool

    def __post_init__(self) -> None:
        whole_number("iterations", self.iterations, at_least=self.average)
        if self.finite_size is not None:
            whole_number("finite_size.iterations", self.finite_size.iterations, at_least=self.average)
        if self.device == "cuda":
            check_accelerator("device", self.device)


@dataclass(frozen=True)
class Stage:
    """A part of the simulation, which writes one table.

    Args:
        name: Name of the table.
        matrices: Number of random matrices.
        points: Number of points (rows of the table) for each matrix.
        simulate: Function that takes the index of a matrix and yields its rows in blocks.
    """

    name: str
    matrices: int
    points: int
    simulate: Callable[[int], Iterator[pd.DataFrame]]


def run(settings: PhaseDiagramSettings, job: Job, config: DictConfig) -> Results:
    """Simulate the matrices that are not in the job's directory yet, and compare the means over matrices with theory.

    The tables tanh/, relu/ and finite_size/ in the directory have a row for each matrix and point.
    """
    columns, rows, sizes = settings.J0_over_J, settings.inverse_J, settings.finite_size
    measured = simulated(stages(settings), job.directory, progress=settings.progress)
    tables: dict[str, pd.DataFrame] = {}
    summary: dict[str, Any] = {"N": settings.N, "matrices": settings.matrices}
    if "tanh" in measured:
        distances = _by_matrix(measured["tanh"], "distance")
        tables["diagram_tanh.parquet"] = phase_tables.tanh_diagram(columns, rows, distances)
        tables["boundary.csv"] = phase_tables.tanh_boundary(columns, rows, distances)
        summary["tanh"] = phase_tables.tanh_agreement(columns, rows, distances)
    if "relu" in measured:
        norms, growths = (_by_matrix(measured["relu"], name) for name in ("norm", "distance"))
        tables["diagram_relu.parquet"] = phase_tables.relu_diagram(columns, rows, norms, growths)
        summary["relu"] = phase_tables.relu_agreement(columns, growths)
    by_name = {Path(name).stem: table for name, table in tables.items()}
    figures = {"phase_diagram": draw_phase_diagram(by_name, N=settings.N, matrices=settings.matrices)}
    if sizes is not None:
        by_size = measured["finite_size"]
        of_sizes = {N: _by_matrix(by_size[by_size["N"] == N], "distance") for N in sizes.sizes}
        distance, transitions = (
            table(sizes.inverse_J, of_sizes)
            for table in (phase_tables.finite_size_table, phase_tables.finite_size_transitions)
        )
        tables |= {"finite_size_distances.csv": distance, "finite_size_transitions.csv": transitions}
        summary["finite_size"] = phase_tables.finite_size_agreement(transitions)
        figures["finite_size"] = draw_finite_size(distance, transitions)
    return Results(summary, tables, figures)


def stages(settings: PhaseDiagramSettings) -> list[Stage]:
    """Return the parts of the simulation that the settings select."""
    columns, rows, sizes = settings.J0_over_J.bins, settings.inverse_J.bins, settings.finite_size
    selected = []
    if "tanh" in settings.activations:
        selected.append(Stage("tanh", settings.matrices, columns * rows, partial(_tanh_matrix, settings)))
    if "relu" in settings.activations:
        selected.append(Stage("relu", settings.matrices, columns, partial(_relu_matrix, settings)))
    if sizes is not None:
        matrices = sizes.matrices * len(sizes.sizes)
        work = partial(_finite_size_matrix, settings, sizes)
        selected.append(Stage("finite_size", matrices, sizes.inverse_J.bins, work))
    return selected


def _tanh_matrix(settings: PhaseDiagramSettings, number: int) -> Iterator[pd.DataFrame]:
    layer = draw_layer(settings.N, seed=settings.seed, number=number, device=settings.device)
    inverse_J, ratio = np.meshgrid(settings.inverse_J.centres, settings.J0_over_J.centres, indexing="ij")
    steps = {"iterations": settings.iterations, "average": settings.average}
    for distances in asymptotic_distances(layer, ratio / inverse_J, 1 / inverse_J, **steps):
        yield pd.DataFrame({"distance": distances})


def _relu_matrix(settings: PhaseDiagramSettings, number: int) -> Iterator[pd.DataFrame]:
    layer = draw_layer(settings.N, seed=settings.seed, number=number, device=settings.device)
    steps = {"iterations": settings.iterations, "average": settings.average}
    yield pd.DataFrame(relu_growth(layer, settings.J0_over_J.centres, **steps)._asdict())


def _finite_size_matrix(settings: PhaseDiagramSettings, sizes: FiniteSize, number: int) -> Iterator[pd.DataFrame]:
    of_size, matrix = divmod(number, sizes.matrices)
    N, J = sizes.sizes[of_size], 1 / sizes.inverse_J.centres
    layer = draw_layer(N, seed=settings.seed, number=matrix, device=settings.device)
    for distances in asymptotic_distances(layer, 0 * J, J, iterations=sizes.iterations, average=settings.average):
        yield pd.DataFrame({"N": N, "distance": distances})


def simulated(work: Sequence[Stage], directory: Path, *, progress: bool) -> dict[str, pd.DataFrame]:
    """Simulate the random matrices that the tables of the stages lack, and return the complete tables by stage name.

    Args:
        work: The stages to simulate.
        directory: The job's directory, with tables of the matrices that an earlier call has simulated.
        progress: Whether to show a progress bar on stderr.
    """
    bar_columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TaskProgressColumn())
    time_left = TimeRemainingColumn(elapsed_when_finished=True)
    measured = {}
    with Progress(*bar_columns, time_left, console=Console(stderr=True), disable=not progress) as bar:
        for stage in work:
            table = Table(directory / stage.name, key="matrix")
            existing = table.read()
            done = 0 if existing is None else int(existing["matrix"].max()) + 1
            task = bar.add_task(stage.name, total=stage.matrices * stage.points, completed=done * stage.points)
            for number in range(done, stage.matrices):
                blocks = []
                for block in stage.simulate(number):
                    bar.advance(task, len(block))
                    blocks.append(block.assign(matrix=number))
                rows = pd.concat(blocks, ignore_index=True)
                table.append(rows[["matrix", *rows.columns.drop("matrix")]])
            table.compact()
            rows_of_all = table.read()
            assert rows_of_all is not None
            measured[stage.name] = rows_of_all
    return measured


def _by_matrix(rows: pd.DataFrame, name: str) -> Array:
    """Return a column of a stage's table, reshaped to (matrices, points)."""
    return rows[name].to_numpy().reshape(rows["matrix"].nunique(), -1)


def report(job: Job, summary: Mapping[str, Any]) -> None:
    """Print how well simulation and theory agree, and the paths of the figures."""
    print_lines(*agreement(summary))
    if "finite_size" in summary:
        print_table(transitions_table(summary["finite_size"]))
        if (exponent := summary["finite_size"].get("exponent")) is not None:
            fitted = _with_error(exponent, summary["finite_size"]["exponent_error"], sign="")
            print_lines(f"with N units, the transition to chaos differs from 1/J = 1 by about N^−p: p = {fitted}")
    print_lines(f"simulated {summary['matrices']} matrices with N = {summary['N']} in {summary['seconds']:.1f} s")
    print_figures(job.directory)


def agreement(summary: Mapping[str, Any]) -> list[str]:
    """Return a line for each activation that says how well the simulated phase diagram agrees with theory."""
    lines = []
    if (tanh := summary.get("tanh")) is not None:
        deviation = _with_error(tanh["boundary_deviation"], tanh["boundary_deviation_error"])
        lines.append(
            f"tanh: 1/J of the simulated edge minus that for N → ∞ is {deviation} (mean over J0/J; root mean square "
            f"{tanh['boundary_deviation_rms']:.3f}); {tanh['judged_alike']:.1%} of the plane is in the predicted phase"
        )
    if (relu := summary.get("relu")) is not None:
        deviation = _with_error(relu["growth_deviation"], relu["growth_deviation_error"])
        lines.append(
            f"ReLU: the growth rate of distances minus that for N → ∞ is {deviation} nats per iteration (mean over "
            f"J0/J; root mean square {relu['growth_deviation_rms']:.3f}); {relu['judged_alike']:.1%} of the J0/J have "
            "the predicted sign"
        )
    return lines


def transitions_table(finite_size: Mapping[str, Any]) -> ShownTable:
    """Format a table of 1/J of the transition from chaos to order at J0 = 0, for each number of units N."""
    table = ShownTable("N", "1/J of the transition", title="tanh at J0 = 0; theory for N → ∞: 1", title_justify="left")
    for column in table.columns:
        column.justify = "right"
    for row in finite_size["transitions"]:
        table.add_row(f"{row['N']:,}", _with_error(row["inverse_J"], row["error"], sign=""))
    return table


def _with_error(value: float, error: float | None, *, sign: str = "+") -> str:
    """Format a mean and its standard error; the error of a single matrix, None or NaN, is left out."""
    return f"{value:{sign}.3f}" + ("" if error is None or math.isnan(error) else f" ± {error:.3f}")


PHASE_DIAGRAM = Study(PhaseDiagramSettings, run, report)
