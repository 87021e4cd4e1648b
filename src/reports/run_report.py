"""Report of a finished run: the figure of its activation lengths, and tables for the terminal."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import nn

from start_training.figures.mean_length import draw_mean_length
from start_training.models.law import law_of
from start_training.runs.directory import RunDirectory
from start_training.tables import shown_layers

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RecordedLengths:
    """Activation lengths M_0 … M_d recorded in a run; all arrays have shape (d + 1,).

    Attributes:
        names: The names of layers 0 … d.
        initial: Mean lengths over samples at the first measured step.
        deviation: Standard deviations over samples at the first measured step.
        final: Mean lengths over samples at the last measured step.
        predicted_log: The predicted log E[M_j] at initialization, in nats; None without a prediction.
        last_step: The number of the last measured step.
    """

    names: list[str]
    initial: Array
    deviation: Array
    final: Array
    predicted_log: Array | None
    last_step: int


def recorded_lengths(run: RunDirectory, net: nn.Module, initializer: object) -> RecordedLengths | None:
    """Read the first and last activation lengths of a run, and predict the first; None if none were recorded.

    Args:
        net: The run's net.
        initializer: The run's initializer, on which the prediction depends.
    """
    rows = run.rows("lengths")
    if rows is None:
        return None
    first, last = (rows[rows["step"] == step].sort_values("layer") for step in (rows["step"].min(), rows["step"].max()))
    initial = first["mean"].to_numpy()
    return RecordedLengths(
        names=first["name"].tolist(),
        initial=initial,
        deviation=np.sqrt(first["variance"].to_numpy()),
        final=last["mean"].to_numpy(),
        predicted_log=predicted_log(net, initializer, initial),
        last_step=int(last["step"].iloc[0]),
    )


def predicted_log(net: nn.Module, initializer: object, initial: Array) -> Array | None:
    """Predict the mean activation lengths at initialization from the measured M_0.

    Args:
        initial: Measured mean lengths M_0 … M_d, shape (d + 1,).
    Returns:
        log E[M_j], shape (d + 1,), in nats; None if there is no theory for the net or initializer, or if the measured
        modules are not the layers of the theory.
    """
    law = law_of(net, initializer)
    if law is None or not initial[0] > 0:
        return None
    log_input = float(np.log(initial[0]))
    layers = law.log_mean_length(log_input)
    if len(layers) != len(initial) - 1:
        return None
    return np.concatenate([[log_input], layers])


def figure(lengths: RecordedLengths, title: str) -> Figure:
    """Draw log mean length against layer at the first and last measured step, with the prediction."""
    return draw_mean_length(
        lengths.initial,
        lengths.final,
        lengths.predicted_log,
        deviation=lengths.deviation,
        last_step=lengths.last_step,
        title=title,
    )


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """Build a table of `test/accuracy` and `test/loss`, as far as they are in `metrics`."""
    table = Table("metric", "value", title="Test", title_justify="left")
    table.columns[1].justify = "right"
    if (accuracy := metrics.get("test/accuracy")) is not None:
        table.add_row("accuracy", f"{accuracy:.2%}")
    if (loss := metrics.get("test/loss")) is not None:
        table.add_row("loss", f"{loss:.4f}")
    return table


def lengths_table(lengths: RecordedLengths) -> Table:
    """Build a table of the mean activation length of each layer: initial, predicted and final."""
    table = Table("layer", "name", title="Mean activation length ‖act‖²/n", title_justify="left")
    for heading in ("initial", "theory", "final"):
        table.add_column(heading, justify="right")
    table.caption = f"theory: mean over nets at initialization\nfinal: step {lengths.last_step}"
    for layer in shown_layers(len(lengths.names)):
        theory = "—" if lengths.predicted_log is None else _scientific(np.exp(lengths.predicted_log[layer]))
        row = [lengths.names[layer], _scientific(lengths.initial[layer]), theory, _scientific(lengths.final[layer])]
        table.add_row(str(layer), *row)
    return table


def layers_table(layers: pd.DataFrame) -> Table:
    """Build a table of log(M_j / M_0) over an ensemble of nets: mean, theory, median, percentiles and dead nets.

    Args:
        layers: A row for each layer, with the columns of `ensembles.layer_table`.
    """
    table = Table("layer", "name", title="log(M_j / M_0) over nets, in nats", title_justify="left")
    some_die = bool(layers["dead"].any())
    for heading in ("mean", "± s.e.", "theory", "median", "5–95%", *["dead"] * some_die):
        table.add_column(heading, justify="right", no_wrap=True)
    for index in shown_layers(len(layers)):
        row = layers.iloc[index]
        theory = f"{row['log_mean_theory']:.2f}" if "log_mean_theory" in layers else "—"
        numbers = [f"{row['log_mean']:.2f}", f"{row['log_mean_error']:.2f}", theory, f"{row['median']:.2f}"]
        spread, dead = f"{row['low']:.2f} … {row['high']:.2f}", [f"{row['dead']:.1%}"] * some_die
        table.add_row(str(row["layer"]), str(row["name"]), *numbers, spread, *dead)
    return table


def print_lines(*lines: str) -> None:
    """Print lines of any length and content as they are, without wrapping, colours or markup."""
    for line in lines:
        Console().print(line, soft_wrap=True, highlight=False, markup=False)


def relative(path: Path) -> Path:
    """Return the path relative to the working directory if it is inside, else the path unchanged."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _scientific(length: float) -> str:
    return f"{length:.3g}"
