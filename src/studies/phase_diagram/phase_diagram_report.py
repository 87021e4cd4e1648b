"""What a phase diagram prints: how simulation and theory agree."""

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from start_training.runs.job import Job
from start_training.studies.study import print_figures, print_lines


def report(job: Job, summary: Mapping[str, Any]) -> None:
    """Print how simulation and theory agree, and where the figures lie."""
    print_lines(*agreement(summary))
    if "finite_size" in summary:
        Console().print(transitions_table(summary["finite_size"]))
        if (exponent := summary["finite_size"].get("exponent")) is not None:
            fitted = _with_error(exponent, summary["finite_size"]["exponent_error"], sign="")
            print_lines(f"its distance from 1 falls as N^−p, p = {fitted}")
    print_lines(f"N = {summary['N']}, {summary['matrices']} matrices, {summary['seconds']:.1f} s")
    print_figures(job.directory)


def agreement(summary: Mapping[str, Any]) -> list[str]:
    """A line for each activation in the summary."""
    lines = []
    if (tanh := summary.get("tanh")) is not None:
        deviation = _with_error(tanh["boundary_deviation"], tanh["boundary_deviation_error"])
        lines.append(
            f"tanh: the edge lies {deviation} from theory in 1/J (mean over J0/J), "
            f"{tanh['boundary_deviation_rms']:.3f} root mean square; {tanh['judged_alike']:.1%} of the plane is in the "
            "phase that theory says"
        )
    if (relu := summary.get("relu")) is not None:
        deviation = _with_error(relu["growth_deviation"], relu["growth_deviation_error"])
        lines.append(
            f"ReLU: distances grow {deviation} nats per iteration faster than in theory (mean over J0/J), "
            f"{relu['growth_deviation_rms']:.3f} root mean square; {relu['judged_alike']:.1%} with its sign"
        )
    return lines


def transitions_table(finite_size: Mapping[str, Any]) -> Table:
    """For each N, 1/J above which states no longer separate at J0 = 0."""
    table = Table("N", "1/J of the transition", title="tanh at J0 = 0; theory: 1", title_justify="left")
    for column in table.columns:
        column.justify = "right"
    for row in finite_size["transitions"]:
        table.add_row(f"{row['N']:,}", _with_error(row["inverse_J"], row["error"], sign=""))
    return table


def _with_error(value: float, error: float | None, *, sign: str = "+") -> str:
    """Mean ± standard error, or the mean of a single matrix, which has no error."""
    return f"{value:{sign}.3f}" + ("" if error is None or math.isnan(error) else f" ± {error:.3f}")
