"""Record the phase of every layer in the course of training, and how fast J² grows."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from torch import nn

from start_training.callbacks.activation_lengths import measured_net
from start_training.callbacks.moment import epochs_trained, scaling_of
from start_training.callbacks.phase_summary import Row, running_slope, summary_of
from start_training.callbacks.test_metrics import TestMetrics
from start_training.models.activation import activation_named
from start_training.order_chaos.layer_phases import PhasedLayer, measure_phases, phased_layers
from start_training.order_chaos.slope import SKIP
from start_training.runs.metrics_file import MetricsFile, TakesMetrics
from start_training.runs.table import Table
from start_training.settings import fraction, positive_integer, whole_number

NAME = "phase"
SENT = ("J0", "J", "J2", "jacobian", "lyapunov", "slope", "slope_error", "scaling")
FLUSH_EVERY = 1_000  # rows; the end of an epoch and a checkpoint flush too


class Phase(pl.Callback):
    """Writes `phase/`, a Parquet data set with a row for each layer but the readout, and each measurement.

    step: optimizer steps done, of whose weights all that follows is said; 0 is initialization. epoch: epochs trained.
    layer, name, fan_in, fan_out: which one. J0, J, J2: its phase (`order_chaos.layer_phases`), of a rectangular or
    convolutional layer by its fan-in; bias_variance: of its biases, 0 without. jacobian, lyapunov: of the map
    x ← φ(W x + b) of a square dense layer, NaN for others (`order_chaos.asymptotics`). slope, slope_error: of J²
    per epoch, fitted so far over the window that `order_chaos.slope.ordered_window` chooses, NaN where none is
    long enough yet, and of an activation whose edge of chaos is not at J = 1 (ReLU). scaling: eta / ((1 − alpha) B) at
    that moment, NaN unless the optimizer is torch's SGD, without dampening.

    Measured at step 0, at the end of every epoch, and with every_n_steps = k after steps k, 2k, … as well. directory:
    the trainer's `default_root_dir` by default. skip: the share of the ordered phase before the window. iterations,
    starts: of the map; the first half of the iterations is not counted. activation: φ of layers that no activation
    module follows in an `nn.Sequential`, by its name in `conf/model`. Of several processes rank 0 measures.
    The run is the same, to the bit, as without it; one that is resumed has the rows of one that was not interrupted.
    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437).
    Raises ValueError for a setting no run could use.
    """

    table = NAME  # of the run's tables the one that this callback writes

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        every_n_steps: int | None = None,
        skip: float = SKIP,
        iterations: int = 50,
        starts: int = 4,
        activation: str | None = None,
    ) -> None:
        self.directory = Path(directory) if directory is not None else None
        self.every_n_steps = None if every_n_steps is None else positive_integer("every_n_steps", every_n_steps)
        self.skip = fraction("skip", skip)
        self.iterations = whole_number("iterations", iterations, at_least=2)
        self.starts = positive_integer("starts", starts)
        self.activation = activation
        self._activation = None if activation is None else activation_named(activation)
        self.layers: list[PhasedLayer] = []  # of the net, since `start`
        self.tests: TestMetrics | None = None  # whose lowest loss the summary is to say J at
        self._table: Table | None = None  # where there is something to write
        self._rows: list[Row] = []  # of the whole run, layer by layer within a measurement
        self._written = 0  # of these
        self._resumed: dict[str, Any] = {}
        self._last_step = 0

    def summary(self) -> dict[str, Any]:
        """What a run's summary.json says, of the first square layer or else the first; nothing where there is none."""
        if not self._rows:
            return {}
        chosen = next((index for index, layer in enumerate(self.layers) if layer.square), 0)
        curve, edge_at_1 = self._rows[chosen :: len(self.layers)], self.layers[chosen].edge_at_1
        lowest = self.tests.lowest if self.tests else None
        said = summary_of(curve, skip=self.skip, edge_at_1=edge_at_1, lowest=lowest)
        return {NAME: {**said, **self._settings()}}

    def state_dict(self) -> dict[str, Any]:
        last = self._rows[len(self._rows) - len(self.layers) :]
        return {"settings": self._settings(), "step": last[0]["step"] if last else None, "rows": last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.every_n_steps and trainer.num_training_batches == math.inf:
            raise ValueError(f"every_n_steps = {self.every_n_steps}: needs training data of a known length, or null")
        callbacks: list[pl.Callback] = getattr(trainer, "callbacks", [])
        self.tests = next((each for each in callbacks if isinstance(each, TestMetrics)), None)
        self._last_step = trainer.global_step
        directory = Path(trainer.default_root_dir) if trainer.is_global_zero else None
        if self.start(measured_net(pl_module), directory, step=trainer.global_step):
            self._measure(trainer, starting=True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._last_step = self._last_step, trainer.global_step
        if self.is_due(before, trainer.global_step):
            self._measure(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.lacks(trainer.global_step):
            self._measure(trainer)
        self.flush()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.flush()  # a run resumed from this checkpoint will not see these steps again

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.finish()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.flush()

    def start(self, net: nn.Module, directory: Path | None, *, step: int) -> bool:
        """Find the net's layers and the rows of the run so far; whether step `step` is to be measured right now.

        It is unless the run resumes there. directory: of the run, in which `phase/` is written (if this callback has
        no `directory` of its own); None where another process writes, and nothing is measured.
        """
        self._rows, self._written, self._table = [], 0, None
        self.layers = phased_layers(net, self._activation)
        if directory is None or not self.layers:
            return False
        self._table = Table((self.directory or directory) / NAME)
        self._table.truncate(step)
        if (before := self._table.read()) is not None:
            self._rows = [{str(name): value for name, value in row.items()} for row in before.to_dict("records")]
            self._written = len(self._rows)
        resumed, self._resumed = self._resumed, {}
        if resumed.get("step") == step and resumed["settings"] == self._settings():
            self._rows += resumed["rows"]
            return False
        return not self._rows or resumed.get("step") == step  # the latter with other settings

    def is_due(self, before: int, step: int) -> bool:
        """Whether to measure in mid-epoch, after `step` steps, when there were `before` a batch ago."""
        # Batches that only accumulate take no step; optimizers of manual optimization take several.
        every = self.every_n_steps
        return every is not None and step // every > before // every and self.lacks(step)

    def lacks(self, step: int) -> bool:
        """Whether there is something to measure, and no measurement of the step yet."""
        return self._table is not None and not (self._rows and self._rows[-1]["step"] == step)

    def add(
        self, measured: Sequence[Row], *, step: int, epoch: float, scaling: float, loggers: Iterable[TakesMetrics] = ()
    ) -> None:
        """Take what `measure_phases` says of `layers` after so many steps and epochs, and send it to the loggers."""
        assert self.lacks(step)
        for index, (layer, numbers) in enumerate(zip(self.layers, measured, strict=True)):
            row: Row = {"step": step, "epoch": epoch, "layer": index, "name": layer.name, **numbers}
            curve = [*self._rows[index :: len(self.layers)], row] if layer.edge_at_1 else []
            slope, error = running_slope(curve, skip=self.skip)
            self._rows.append({**row, "slope": slope, "slope_error": error, "scaling": scaling})
            _send(loggers, self._rows[-1])
        if len(self._rows) - self._written >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are not on disk yet."""
        rows, self._written = self._rows[self._written :], len(self._rows)
        if rows:
            assert self._table is not None
            self._table.append(pd.DataFrame(rows))

    def finish(self) -> None:
        """Write all rows, in one file."""
        self.flush()
        if self._table is not None:
            self._table.compact()

    def _measure(self, trainer: pl.Trainer, *, starting: bool = False) -> None:
        measured = measure_phases(self.layers, iterations=self.iterations, starts=self.starts)
        epoch, scaling = epochs_trained(trainer, starting=starting), scaling_of(trainer)
        self.add(measured, step=trainer.global_step, epoch=epoch, scaling=scaling, loggers=trainer.loggers)

    def _settings(self) -> dict[str, Any]:
        return {"skip": self.skip, "iterations": self.iterations, "starts": self.starts}


def _send(loggers: Iterable[TakesMetrics], row: Row) -> None:
    """To all loggers but metrics.csv, whose rows are epochs, as `phase/<layer>/<number>`."""
    numbers = {f"{NAME}/{row['name']}/{name}": row[name] for name in SENT if math.isfinite(row[name])}
    for logger in loggers:
        if numbers and not isinstance(logger, MetricsFile):
            logger.log_metrics(numbers, step=row["step"])
