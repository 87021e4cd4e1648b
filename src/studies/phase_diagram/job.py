"""What a phase diagram shows on the terminal."""

import math
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from start_training.reports import run_report
from start_training.runs.job import Job
from start_training.studies.phase_diagram.phase_diagram import PhaseDiagram, phase_diagram


def phase_diagram_job(job: Job, config: DictConfig) -> None:
    """Draw the job's phase diagram, and show how it agrees with theory."""
    show(phase_diagram(job))


def show(finished: PhaseDiagram) -> None:
    """How simulation and theory agree, and where the figures lie."""
    console, summary, directory = Console(), finished.summary, finished.job.directory
    for line in agreement(summary):
        console.print(line, soft_wrap=True, highlight=False)
    if "finite_size" in summary:
        console.print(transitions_table(summary["finite_size"]))
        if (exponent := summary["finite_size"].get("exponent")) is not None:
            found = _with_error(exponent, summary["finite_size"]["exponent_error"], sign="")
            console.print(f"its distance from 1 falls as N^−p, p = {found}", soft_wrap=True, highlight=False)
    made = f"N = {summary['N']}, {summary['matrices']} matrices, {summary['seconds']:.1f} s"
    console.print(made, highlight=False)
    for file in sorted((directory / "figures").glob("*.png")):
        console.print(f"figure: {run_report.relative(file)}", soft_wrap=True)


def agreement(summary: Mapping[str, Any]) -> list[str]:
    """A line for each activation."""
    lines = []
    if (tanh := summary.get("tanh")) is not None:
        found = _with_error(tanh["boundary_deviation"], tanh["boundary_deviation_error"])
        lines.append(
            f"tanh: the edge lies {found} from theory in 1/J (mean over J0/J), {tanh['boundary_deviation_rms']:.3f} "
            f"root mean square; {tanh['judged_alike']:.1%} of the plane is in the phase that theory says"
        )
    if (relu := summary.get("relu")) is not None:
        found = _with_error(relu["growth_deviation"], relu["growth_deviation_error"])
        lines.append(
            f"ReLU: distances grow {found} nats per iteration faster than in theory (mean over J0/J), "
            f"{relu['growth_deviation_rms']:.3f} root mean square; {relu['judged_alike']:.1%} with its sign"
        )
    return lines


def transitions_table(finite_size: Mapping[str, Any]) -> Table:
    """1/J at which states cease to separate at J0 = 0, for each N."""
    table = Table("N", "1/J of the transition", title="tanh at J0 = 0; theory: 1", title_justify="left")
    for column in table.columns:
        column.justify = "right"
    for row in finite_size["transitions"]:
        table.add_row(f"{row['N']:,}", _with_error(row["inverse_J"], row["error"], sign=""))
    return table


def _with_error(value: float, error: float | None, *, sign: str = "+") -> str:
    """Mean ± standard error, which a single matrix does not have."""
    return f"{value:{sign}.3f}" + ("" if error is None or math.isnan(error) else f" ± {error:.3f}")
