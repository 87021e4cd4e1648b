"""Record the order-chaos phase of every layer during training, and the growth rate of J²."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pytorch_lightning as pl
from torch import nn

from start_training.callbacks.contracts import GroupCallback, GroupMoment, GroupRun, summaries
from start_training.callbacks.phase_summary import Row, running_slope, sentence, summary_of
from start_training.callbacks.position import crosses, epochs_trained, scaling_in_group, scaling_of
from start_training.lengths.forward_passes import measured_net
from start_training.models.activation import activation_named
from start_training.order_chaos.layer_phases import PhasedLayer, measure_phases, phased_layers
from start_training.order_chaos.slope import SKIP
from start_training.runs.metrics_file import MetricsFile, MetricsLogger
from start_training.runs.table import Table
from start_training.settings import AtLeast, Fraction, PositiveInteger, checked

NAME = "phase"
SENT = ("J0", "J", "J2", "jacobian", "lyapunov", "slope", "slope_error", "scaling")
FLUSH_EVERY = 1_000  # rows; the end of an epoch and a checkpoint flush as well


class Phase(pl.Callback, GroupCallback):
    """Record the phase of every layer except the readout during training as the Parquet data set `phase/`.

    The data set can be read with `pandas.read_parquet` and has a row for each measurement and layer. The layers are
    measured at step 0 and at the end of every epoch, by rank 0 if there are several processes. The run is
    bit-identical to one without this callback, and a resumed run has the same rows as an uninterrupted one. Columns:

    - step, epoch: the number of optimizer steps and of epochs done before the measurement.
    - layer, name, fan_in, fan_out: index, module name and shape of the layer.
    - J0, J, J2: the phase (see `order_chaos.layer_phases`); for rectangular and convolutional layers by their fan-in.
    - bias_variance: the variance of the layer's biases; 0 without biases.
    - jacobian, lyapunov: Jacobian norm and Lyapunov exponent of the map x ← φ(W x + b) of a square dense layer (see
      `order_chaos.asymptotics`); NaN for other layers.
    - slope, slope_error: the growth of J² per epoch and its standard error, fitted over the window chosen by
      `order_chaos.slope.ordered_window`; NaN while no window is long enough, and for activations whose edge of chaos
      is not at J = 1 (ReLU).
    - scaling: eta / ((1 − alpha) B) at that step; NaN unless the optimizer is torch's SGD without dampening.

    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437).

    Args:
        directory: The directory of the data set; None: the trainer's `default_root_dir`.
        every_n_steps: Also measure after every n-th step.
        skip: The share of the ordered phase that precedes the window of the slope, in [0, 1).
        iterations: The number of iterations of the map, of which the first half is discarded.
        starts: The number of random starting points of the map.
        activation: The name in `conf/model` of the activation φ, for layers that are not followed by an activation
            module in an `nn.Sequential`.

    Raises:
        ValueError: a setting is not allowed.

    Example:
        >>> import tempfile
        >>> import pandas as pd
        >>> from functools import partial
        >>> from torch.optim import SGD
        >>> from start_training.datamodules.digits import Digits
        >>> from start_training.models.classifier import Classifier
        >>> from start_training.models.fully_connected import FullyConnected
        >>> net = FullyConnected(64, 10, depth=2, width=20)
        >>> module = Classifier(net, partial(SGD, lr=0.1), classes=10)
        >>> directory = tempfile.mkdtemp()
        >>> callback = Phase(directory, activation="relu")
        >>> trainer = pl.Trainer(
        ...     max_epochs=1, callbacks=[callback], logger=False, enable_checkpointing=False,
        ...     enable_progress_bar=False, enable_model_summary=False,
        ... )
        >>> trainer.fit(module, Digits())
        >>> pd.read_parquet(f"{directory}/phase")["name"].tolist()
        ['hidden.0.linear', 'hidden.1.linear', 'hidden.0.linear', 'hidden.1.linear']
    """

    table = NAME  # the table of the run directory that this callback writes

    @checked
    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        every_n_steps: PositiveInteger | None = None,
        skip: Fraction = SKIP,
        iterations: Annotated[int, AtLeast(2)] = 50,
        starts: PositiveInteger = 4,
        activation: str | None = None,
    ) -> None:
        self.directory = Path(directory) if directory is not None else None
        self.every_n_steps, self.skip = every_n_steps, skip
        self.iterations, self.starts = iterations, starts
        self._activation = None if activation is None else activation_named(activation)
        self.layers: list[PhasedLayer] = []  # set by `start`
        self._others: list[pl.Callback] = []  # other callbacks except `Phase`s; one may record the lowest test loss
        self._table: Table | None = None  # None in a process that does not measure
        self._rows: list[Row] = []  # all rows of the run: for each measurement, the rows of all layers
        self._written = 0  # the number of rows that are on disk
        self._resumed: dict[str, Any] = {}
        self._last_step = 0

    def summary(self) -> dict[str, Any]:
        """Summarize the rows of the first square layer, or of the first layer if none is square; {} without rows."""
        if not self._rows:
            return {}
        chosen = next((index for index, layer in enumerate(self.layers) if layer.square), 0)
        curve, edge_at_1 = self._rows[chosen :: len(self.layers)], self.layers[chosen].edge_at_1
        lowest = summaries(self._others).get("lowest_test_loss")
        summary = summary_of(curve, skip=self.skip, edge_at_1=edge_at_1, lowest=lowest)
        return {NAME: {**summary, **self._settings()}}

    def sentence(self, summary: Mapping[str, Any], *, short: bool = False) -> str:
        phase = summary.get(NAME)
        if phase is None or (short and phase["J"] is None):
            return ""
        return f"J {phase['J']:.3f}" if short else sentence(phase)

    def state_dict(self) -> dict[str, Any]:
        last = self._rows[len(self._rows) - len(self.layers) :]
        return {"settings": self._settings(), "step": last[0]["step"] if last else None, "rows": last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.every_n_steps and trainer.num_training_batches == math.inf:
            raise ValueError(
                f"every_n_steps = {self.every_n_steps}: needs training data of known length; set it to null"
            )
        self._others = [other for other in getattr(trainer, "callbacks", []) if not isinstance(other, Phase)]
        self._last_step = trainer.global_step
        directory = Path(trainer.default_root_dir) if trainer.is_global_zero else None
        if self.start(measured_net(pl_module), directory, step=trainer.global_step):
            self._measure(trainer, starting=True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._last_step = self._last_step, trainer.global_step
        if crosses(self.every_n_steps, before, trainer.global_step) and self.needs_measurement(trainer.global_step):
            self._measure(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.needs_measurement(trainer.global_step):
            self._measure(trainer)
        self.group_flush()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.group_flush()  # a run resumed from this checkpoint will not see these steps again

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.group_flush()
        self.group_end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.group_flush()

    def group_start(self, run: GroupRun, moment: GroupMoment) -> bool:
        self._others = [other for other in run.callbacks if not isinstance(other, Phase)]
        return self.start(run.net, run.directory, step=moment.step)

    def group_period(self) -> int | None:
        return self.every_n_steps

    def group_is_due(self, moment: GroupMoment) -> bool:
        return self.needs_measurement(moment.step)

    @classmethod
    def group_measure(cls, due: Sequence[tuple["Phase", GroupRun]], moment: GroupMoment) -> None:
        """Measure the layers of several runs in one call of `measure_phases`."""
        first, layers = due[0][0], [layer for phase, _ in due for layer in phase.layers]
        measured = iter(measure_phases(layers, iterations=first.iterations, starts=first.starts))
        for phase, run in due:
            rows, scaling = list(islice(measured, len(phase.layers))), scaling_in_group(run, moment.step)
            phase.add(rows, step=moment.step, epoch=moment.epochs, scaling=scaling, loggers=run.loggers)

    def group_flush(self) -> None:
        rows, self._written = self._rows[self._written :], len(self._rows)
        if rows:
            assert self._table is not None
            self._table.append(pd.DataFrame(rows))

    def group_end(self) -> None:
        if self._table is not None:
            self._table.compact()

    def start(self, net: nn.Module, directory: Path | None, *, step: int) -> bool:
        """Find the layers of a net to measure, and load existing rows of a run that resumes.

        Args:
            directory: The run's directory; None in a process that does not measure.
            step: The number of optimizer steps done.
        Returns:
            Whether to measure before the first step; False if the checkpoint of a resumed run has that measurement.
        """
        self._rows, self._written, self._table = [], 0, None
        self.layers = phased_layers(net, self._activation)
        if directory is None or not self.layers:
            return False
        self._table = Table((self.directory or directory) / NAME)
        self._table.truncate(step)
        if (existing := self._table.read()) is not None:
            self._rows = [{str(name): value for name, value in row.items()} for row in existing.to_dict("records")]
            self._written = len(self._rows)
        resumed, self._resumed = self._resumed, {}
        if resumed.get("step") == step and resumed["settings"] == self._settings():
            self._rows += resumed["rows"]
            return False
        return not self._rows or resumed.get("step") == step  # the checkpoint was written with other settings

    def needs_measurement(self, step: int) -> bool:
        """Return whether there are layers to measure, and the rows of this step do not exist yet."""
        return self._table is not None and not (self._rows and self._rows[-1]["step"] == step)

    def add(
        self, measured: Sequence[Row], *, step: int, epoch: float, scaling: float, loggers: Iterable[MetricsLogger] = ()
    ) -> None:
        """Add and log the results of `measure_phases` for `layers` after `step` optimizer steps and `epoch` epochs."""
        assert self.needs_measurement(step)
        for index, (layer, numbers) in enumerate(zip(self.layers, measured, strict=True)):
            row: Row = {"step": step, "epoch": epoch, "layer": index, "name": layer.name, **numbers}
            curve = [*self._rows[index :: len(self.layers)], row] if layer.edge_at_1 else []
            slope, error = running_slope(curve, skip=self.skip)
            self._rows.append({**row, "slope": slope, "slope_error": error, "scaling": scaling})
            _send(loggers, self._rows[-1])
        if len(self._rows) - self._written >= FLUSH_EVERY:
            self.group_flush()

    def _measure(self, trainer: pl.Trainer, *, starting: bool = False) -> None:
        measured = measure_phases(self.layers, iterations=self.iterations, starts=self.starts)
        epoch, scaling = epochs_trained(trainer, starting=starting), scaling_of(trainer)
        self.add(measured, step=trainer.global_step, epoch=epoch, scaling=scaling, loggers=trainer.loggers)

    def _settings(self) -> dict[str, Any]:
        return {"skip": self.skip, "iterations": self.iterations, "starts": self.starts}


def _send(loggers: Iterable[MetricsLogger], row: Row) -> None:
    """Log the finite numbers of a row as `phase/<layer>/<column>`, except to metrics.csv, which has a row per epoch."""
    numbers = {f"{NAME}/{row['name']}/{name}": row[name] for name in SENT if math.isfinite(row[name])}
    for logger in loggers:
        if numbers and not isinstance(logger, MetricsFile):
            logger.log_metrics(numbers, step=row["step"])
