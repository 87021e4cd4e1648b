"""Report of a finished run: the figures of its activation lengths, and tables for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table
from torch import nn

from start_training.figures.lengths_over_time import draw_lengths_over_time
from start_training.figures.mean_length import draw_mean_length
from start_training.lengths.growth_rate import growth_rate
from start_training.models.law import law_of
from start_training.runs.directory import RunDirectory
from start_training.runs.read_lengths import layer_matrix
from start_training.tables import shown_layers, theory_heading
from start_training.tasks.merit import label_of, text_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RecordedLengths:
    """Activation lengths M_0 … M_d recorded in a run; arrays have shape (d + 1,) where nothing else is said.

    Attributes:
        means: Mean lengths over samples, with a row for each layer and a column for each step; see `read_lengths`.
        measured: Whether each layer was measured at each step, of the shape of `means`; None: all were.
        growth_rate: Growth rate of the mean length at each step, in nats per layer, shape (steps,).
        learning_rate: Learning rate of each step, shape (steps,).
        names: The names of layers 0 … d.
        initial: Mean lengths over samples at the first measured step.
        deviation: Standard deviations over samples at the first measured step.
        final: Mean lengths over samples at the last measured step.
        predicted_log: The predicted log E[M_j] at initialization, in nats; None without a prediction.
        supposes: What the prediction supposes, the attribute `supposes` of the law.
        last_step: The number of the last measured step.
    """

    means: pd.DataFrame
    measured: pd.DataFrame | None
    growth_rate: Array
    learning_rate: Array | None
    names: list[str]
    initial: Array
    deviation: Array
    final: Array
    predicted_log: Array | None
    supposes: tuple[str, ...]
    last_step: int


def recorded_lengths(run: RunDirectory, net: nn.Module, initializer: object) -> RecordedLengths | None:
    """Read the activation lengths of a run, and predict the first; None if none were recorded.

    Args:
        net: The run's net.
        initializer: The run's initializer, on which the prediction depends.
    """
    rows = run.rows("lengths")
    if rows is None:
        return None
    means = layer_matrix(rows)
    initial = means.iloc[:, 0].to_numpy()
    return RecordedLengths(
        means=means,
        measured=None if len(rows) == means.size else layer_matrix(rows, "count").notna(),
        **_of_steps(run.rows("steps"), means),
        names=means.index.get_level_values("name").tolist(),
        initial=initial,
        deviation=np.sqrt(layer_matrix(rows, "variance").iloc[:, 0].to_numpy()),
        final=means.iloc[:, -1].to_numpy(),
        predicted_log=predicted_log(net, initializer, initial),
        supposes=getattr(law_of(net, initializer), "supposes", ()),
        last_step=int(means.columns[-1]),
    )


def _of_steps(rows: pd.DataFrame | None, means: pd.DataFrame) -> dict[str, Any]:
    """Return growth rate and learning rate of each measured step, from the table `steps/` as far as it has them."""
    steps = pd.DataFrame({"step": []}) if rows is None else rows.drop_duplicates("step")
    columns = steps.set_index("step").reindex(means.columns)
    rates = {name: columns[name].to_numpy(float) for name in ("growth_rate", "learning_rate") if name in columns}
    return {"growth_rate": growth_rate(means.to_numpy().T), "learning_rate": None, **rates}


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


def figures(lengths: RecordedLengths, title: str) -> dict[str, Figure]:
    """Draw a run's figures, by file name: lengths at its first and last step, with the prediction, and over time."""
    ends = draw_mean_length(
        lengths.initial,
        lengths.final,
        lengths.predicted_log,
        deviation=lengths.deviation,
        supposes=lengths.supposes,
        last_step=lengths.last_step,
        title=title,
    )
    over_time = draw_lengths_over_time(
        lengths.means, lengths.growth_rate, lengths.learning_rate, measured=lengths.measured, title=title
    )
    return {"lengths": ends, "lengths_over_time": over_time}


def duration(summary: Mapping[str, Any]) -> str:
    """Return how many steps a run took, or how many updates its range test if it ended after it, and its seconds.

    Example:
        >>> duration({"steps": 0, "seconds": 1.24, "range_test": {"updates": 40}})
        '40 updates in 1.2 s'
    """
    updates = (summary.get("range_test") or {}).get("updates")
    done = f"{updates} updates" if updates and not summary["steps"] else f"{summary['steps']} steps"
    return f"{done} in {summary['seconds']:.1f} s"


STAGES = {"test": "Test", "val": "Validation"}  # prefixes of metrics; a run without test data shows its validation


def metrics_table(metrics: Mapping[str, Any]) -> Table | None:
    """Build a table of the metrics `test/…`, or else `val/…`, such as `test/accuracy`; the loss is last.

    Returns:
        The table; None if there are no such metrics.
    """
    for stage, title in STAGES.items():
        table = Table("metric", "value", title=title, title_justify="left")
        table.columns[1].justify, table.columns[1].no_wrap = "right", True
        names = [name.removeprefix(f"{stage}/") for name in metrics if name.startswith(f"{stage}/")]
        for name in sorted(names, key=lambda name: name == "loss"):
            value = metrics[f"{stage}/{name}"]
            table.add_row(label_of(name), f"{value:.4f}" if name == "loss" else text_of(name, value, 2))
        if names:
            return table
    return None


def result_in_words(metrics: Mapping[str, Any], score: str) -> str:
    """Return the score of a run, or else its loss, on test data, or else in the last validation; "" without either.

    Example:
        >>> result_in_words({"test/loss": 0.1, "test/accuracy": 0.97, "val/loss": 0.2}, "accuracy")
        'test accuracy 97.0%'
        >>> result_in_words({"train/loss": 0.1, "val/loss": 0.2}, "r2")
        'validation loss 0.2000'
    """
    for stage, title in STAGES.items():
        for name in filter(None, (score, "loss")):
            value = metrics.get(f"{stage}/{name}")
            if value is not None:
                text = f"{value:.4f}" if name == "loss" else text_of(name, value)
                return f"{title.lower()} {label_of(name)} {text}"
    return ""


def lengths_table(lengths: RecordedLengths) -> Table:
    """Build a table of the mean activation length of each layer: initial, predicted and final."""
    table = Table("layer", "name", title="Mean activation length ‖act‖²/n", title_justify="left")
    for heading in ("initial", theory_heading(lengths.supposes), "final"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.caption = f"theory: mean over nets at initialization\nfinal: step {lengths.last_step}"
    for layer in shown_layers(len(lengths.names)):
        theory = "—" if lengths.predicted_log is None else _scientific(np.exp(lengths.predicted_log[layer]))
        row = [lengths.names[layer], _scientific(lengths.initial[layer]), theory, _scientific(lengths.final[layer])]
        table.add_row(str(layer), *row)
    return table


def layers_table(layers: pd.DataFrame, supposes: Sequence[str] = ()) -> Table:
    """Build a table of log(M_j / M_0) over an ensemble of nets: mean, theory, median, percentiles and dead nets.

    Args:
        layers: A row for each layer, with the columns of `ensembles.layer_table`.
        supposes: What the predictions suppose, the attribute `supposes` of the law.
    """
    table = Table("layer", "name", title="log(M_j / M_0) over nets, in nats", title_justify="left")
    ending = common_ending([str(name) for name in layers["name"][1:]])
    table.caption = f"names without their ending {ending}" if ending else None
    some_die = bool(layers["dead"].any())
    for heading in ("mean", "± s.e.", theory_heading(supposes), "median", "5–95%", *["dead"] * some_die):
        table.add_column(heading, justify="right", no_wrap=True)
    for index in shown_layers(len(layers)):
        row = layers.iloc[index]
        theory = f"{row['log_mean_theory']:.2f}" if "log_mean_theory" in layers else "—"
        numbers = [f"{row['log_mean']:.2f}", f"{row['log_mean_error']:.2f}", theory, f"{row['median']:.2f}"]
        spread, dead = f"{row['low']:.2f} … {row['high']:.2f}", [f"{row['dead']:.1%}"] * some_die
        name = str(row["name"]).removesuffix(ending)
        table.add_row(str(row["layer"]), name, *numbers, spread, *dead)
    return table


def common_ending(names: Sequence[str]) -> str:
    """Return the longest ending that begins with a dot, is in all names, and leaves them different.

    Example:
        >>> common_ending(["hidden.0.activation", "hidden.10.activation"]), common_ending(["conv", "fc"])
        ('.activation', '')
    """
    parts = [name.split(".")[:0:-1] for name in names if len(names) > 1]  # the last part first, without the first
    equal = takewhile(lambda part: len({*part}) == 1, zip(*parts, strict=False))
    return "".join(f".{part[0]}" for part in [*equal][::-1])


def relative(path: Path) -> Path:
    """Return the path relative to the working directory if it is inside, else the path unchanged."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _scientific(length: float) -> str:
    return f"{length:.3g}"
