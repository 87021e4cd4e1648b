"""The report of a finished run: tables for the terminal and a figure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table
from torch import nn

from start_training.figures.mean_length import draw_mean_length
from start_training.models.law import law_of
from start_training.runs.directory import RunDirectory
from start_training.tables import shown_layers

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RecordedLengths:
    """Activation lengths of layers 0 … d, as a run has recorded them.

    Attributes:
        names: Of the layers.
        initial: Mean lengths at the first step measured, (d + 1,).
        deviation: Their standard deviations over samples.
        final: Mean lengths at the last step measured.
        predicted_log: log E[M_j] at initialization; None where there is no prediction.
        last_step: The number of the last step measured.
    """

    names: list[str]
    initial: Array
    deviation: Array
    final: Array
    predicted_log: Array | None
    last_step: int


def recorded_lengths(run: RunDirectory, net: nn.Module, initializer: object) -> RecordedLengths | None:
    """The first and the last lengths in a run's table, with their prediction; None if it has no such table."""
    directory = run.path / "lengths"
    if not any(directory.glob("part-*.parquet")):
        return None
    rows = pd.read_parquet(directory)
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
    """The prediction of the initial lengths, given the measured M_0.

    Args:
        initial: Measured mean lengths M_0 … M_d.
    Returns:
        log E[M_j], (d + 1,), in nats; None for a net or an initializer without a law, or if other modules were measured
        than the law is about.
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
    """Log mean length against layer, with the theory drawn over it."""
    return draw_mean_length(
        lengths.initial,
        lengths.final,
        lengths.predicted_log,
        deviation=lengths.deviation,
        last_step=lengths.last_step,
        title=title,
    )


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """Test accuracy and loss."""
    table = Table("metric", "value", title="Test", title_justify="left")
    table.columns[1].justify = "right"
    if (accuracy := metrics.get("test/accuracy")) is not None:
        table.add_row("accuracy", f"{accuracy:.2%}")
    if (loss := metrics.get("test/loss")) is not None:
        table.add_row("loss", f"{loss:.4f}")
    return table


def lengths_table(lengths: RecordedLengths) -> Table:
    """The mean activation lengths of each layer: at initialization, in theory, and at the end."""
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
    """The table of a simulation: for each layer log(M_j / M_0), measured and in theory, and its distribution over nets.

    Args:
        layers: A row for each layer, as `ensembles.layer_table` makes them.
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


def relative(path: Path) -> Path:
    """The path relative to the working directory, if it lies below; else as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _scientific(length: float) -> str:
    return f"{length:.3g}"
