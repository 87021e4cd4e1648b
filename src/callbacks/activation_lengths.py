"""Record mean and variance of the activation length of every measured layer at every optimizer step."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch import Tensor, nn

from start_training.callbacks.contracts import GroupMoment, GroupRun, LengthsCallback
from start_training.lengths.statistics import unpack_statistics
from start_training.recording.fit_directory import choose_subdirectory, is_run_directory
from start_training.recording.length_curves import LengthCurves
from start_training.recording.measured_batches import pooled_steps
from start_training.recording.step_measurement import StepMeasurement
from start_training.recording.update_sizes import MeasuredUpdate, UpdateSizes
from start_training.runs.length_tables import LengthTables, MeasuredSteps, StepRecord
from start_training.settings import PositiveInteger, checked


class ActivationLengths(pl.Callback, LengthsCallback):
    """Record the activation lengths M_j = ‖act_j‖² / n_j of layers 0 … d during training as two Parquet data sets.

    `start_training.lengths.capture.Capture` describes which layers are measured; layer 0 is the input. Step k is
    measured before the k-th update, so that step 0 is initialization. A step is a training step in which an optimizer
    steps; a batch that `training_step` skips has no row. With gradient accumulation, the micro-batches of a step are
    pooled. Both data sets can be read with `pandas.read_parquet`:

    - `lengths/` has a row for each step and layer: step, layer, name, the mean and variance (ddof 1) of M_j over the
      samples of the global batch, and the number of samples.
    - `steps/` has a row for each step: step, epoch, loss, learning_rate, growth_rate (failure mode 1), layer_variance
      and relative_layer_variance (failure mode 2), first_nonfinite_layer.
    - `updates/`, with `updates=True`, has the sizes of weights, gradients and updates of each parameter: see
      `start_training.recording.update_sizes.update_rows` and `UpdateSizes`.

    If training steps have several forward passes, as those of a GAN, or there are several optimizers, both data sets
    have a row for each pass, with its name in the column `phase`: the nets that are called in it, numbered at
    repetitions, as `discriminator:2`. In `steps/`, the column `optimizer` names the one that learning rate and loss
    belong to. `start_training.recording.step_measurement.StepMeasurement` describes what is measured.

    `start_training.recording.length_curves.LengthCurves` describes the curves that the trainer's loggers get.

    Source: Hanin & Rolnick 2018 (arXiv:1803.01719).

    Args:
        directory: The directory of both data sets. If it holds those of another fit, or is None, which stands for the
            trainer's `default_root_dir`, they are written to a new subdirectory `activation_lengths/<n>`, whose path is
            printed; but a run directory of `start-training train` is used itself.
        every_n_steps: Measure every n-th step only.
        flush_every_n_steps: Transfer values from the device and write them at least once per this many measured steps.
        modules: Name patterns, as in `fnmatch`, of the modules to measure.
        resume: Go on with the data sets of the newest fit in the directory, as a fit that resumes from a checkpoint
            always does. Rows of the step at which training starts, and of later steps, are replaced.
        log: Whether to log curves.
        log_every_n_steps: Log at most one step out of so many, whenever values are written.
        updates: Whether to write the table `updates/`, too. A run with it is not trained in a group of replicas.

    Attributes:
        tables_directory: The directory that contains both data sets of the newest fit.

    Raises:
        ValueError: a setting is not allowed, or a pattern matches no module.
        RuntimeError: a batch trained the net, but no measured layer has ever run.

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
        >>> callback = ActivationLengths(directory)
        >>> trainer = pl.Trainer(
        ...     max_epochs=1, callbacks=[callback], logger=False, enable_checkpointing=False,
        ...     enable_progress_bar=False, enable_model_summary=False,
        ... )
        >>> trainer.fit(module, Digits())
        >>> pd.read_parquet(f"{directory}/lengths")["name"].unique().tolist()
        ['input', 'hidden.0.activation', 'hidden.1.activation']
    """

    group_settings: ClassVar = {"updates": False}

    @checked
    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        every_n_steps: PositiveInteger = 1,
        flush_every_n_steps: PositiveInteger = 100,
        modules: Sequence[str] | None = None,
        resume: bool = False,
        log: bool = True,
        log_every_n_steps: PositiveInteger = 50,
        updates: bool = False,
    ) -> None:
        self.directory = Path(directory) if directory is not None else None
        self.every_n_steps, self.flush_every_n_steps, self.modules = every_n_steps, flush_every_n_steps, modules
        self.resume, self.log_every_n_steps, self.updates = resume, log_every_n_steps, updates
        self.log_curves = log  # Lightning sets `log` of each callback to the module's method
        self.tables_directory = Path()
        self._measurement: StepMeasurement | None = None
        self._updates: UpdateSizes | None = None
        self._tables: LengthTables | None = None
        self._curves: LengthCurves | None = None
        self._loggers: Sequence[Any] = ()
        self._saved: dict[str, Any] = {}  # state of the newest fit, or of the one to go on with
        self._names: tuple[str, ...] = ()
        self._of_group: list[tuple[list[StepRecord], NDArray[np.float64]]] = []  # not written yet

    @property
    def state_key(self) -> str:
        return self._generate_state_key(directory=str(self.directory), every=self.every_n_steps, modules=self.modules)

    def state_dict(self) -> dict[str, Any]:
        if self._saved and self._measurement is not None:
            self._saved |= self._measurement.state()
        return dict(self._saved)  # empty, and not in the checkpoint, in the run directories of this project

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = dict(state_dict)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and any(True for _ in pl_module.parameters()):
            self._measure(pl_module)  # hooks have to be registered before the net is compiled

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._measure(pl_module)  # unless done: a net that the module has built in `configure_model`

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._measurement is not None
        step = self._saved.get("step", trainer.global_step) if trainer.global_step else 0
        self._measurement.on_train_start(trainer, pl_module, step)
        if self.updates:  # its hooks are removed with those of the measurement
            self._updates = UpdateSizes(trainer, pl_module, measured_net(pl_module), self._measurement)
        if trainer.is_global_zero:
            self._loggers = trainer.loggers
            self._choose_directory(trainer)
            self._start_writing(step, several=self._measurement.steps.several).truncate(step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert self._measurement is not None
        self._measurement.on_train_batch_start()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if self._measurement is not None:
            self._measurement.on_before_backward(loss)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._measurement is not None:
            self._measurement.on_after_backward()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self._measurement is not None
        self._measurement.on_train_batch_end(outputs)
        if self._measurement.measured_steps > (self.flush_every_n_steps - 1) * self.every_n_steps:
            self._flush(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._flush(trainer)  # a run resumed from this checkpoint will not see these steps again

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._measurement is not None
        self._flush(trainer, incomplete=True)
        self.state_dict()  # stores it, in case the Trainer goes on in another call of `fit`
        if self._tables is not None:
            self._tables.compact()
        if self._measurement.has_tried and not self._measurement.has_measured:
            warnings.warn("ActivationLengths measured nothing: training_step skipped all batches", stacklevel=2)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # `_flush` is a collective operation: it needs all ranks.
        if trainer.world_size == 1 or getattr(exception, "on_all_ranks", False):
            self._flush(trainer, incomplete=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._measurement is not None:
            self._measurement.remove()
            self._measurement = None

    def group_start(self, run: GroupRun, moment: GroupMoment) -> bool:
        self.tables_directory, self._loggers = run.directory, run.loggers
        self._start_writing(moment.step)
        return False

    def group_lengths(self, names: Sequence[str], steps: Sequence[StepRecord], readings: NDArray[np.float64]) -> None:
        self._names = tuple(names)
        self._of_group.append((list(steps), readings))

    def group_flush(self) -> None:
        pending, self._of_group = self._of_group, []
        if steps := [step for steps, _ in pending for step in steps]:
            readings = np.concatenate([readings for _, readings in pending])
            self._write([MeasuredSteps(self._names, steps, unpack_statistics(readings))])

    def _measure(self, module: pl.LightningModule) -> None:
        if self._measurement is None:
            net = measured_net(module)
            self._measurement = StepMeasurement(module, net, self.modules, every_n_steps=self.every_n_steps)

    def _choose_directory(self, trainer: pl.Trainer) -> None:
        self.tables_directory = base = self.directory or Path(trainer.default_root_dir)
        if is_run_directory(base):
            self._saved = {}
            return
        goes_on = self.resume or trainer.global_step > 0 or getattr(trainer, "ckpt_path", None) is not None
        explicit, saved = self.directory is not None, self._saved.get("subdirectory")
        subdirectory = choose_subdirectory(base, explicit=explicit, goes_on=goes_on, saved=saved)
        self.tables_directory, self._saved = base / subdirectory, {"subdirectory": subdirectory}
        if subdirectory:
            print(f"ActivationLengths: the tables of this fit are in {self.tables_directory}")

    def _start_writing(self, step: int, *, several: bool = False) -> LengthTables:
        self._tables = LengthTables(self.tables_directory, phased=several)
        self._curves = LengthCurves(self.log_every_n_steps, start=step) if self.log_curves else None
        return self._tables

    def _flush(self, trainer: pl.Trainer, *, incomplete: bool = False) -> None:
        if self._measurement is not None:
            measured = pooled_steps(self._measurement.take(incomplete=incomplete))
            if trainer.is_global_zero:
                self._write(measured, self._updates.write(self._tables, incomplete=incomplete) if self._updates else ())

    def _write(self, measured: Sequence[MeasuredSteps], updates: Sequence[MeasuredUpdate] = ()) -> None:
        if measured and self._tables is not None:
            self._tables.append(measured)
            if self._curves is not None:
                self._curves.log(measured, self._loggers, phased=self._tables.phased, updates=updates)


def measured_net(module: nn.Module) -> nn.Module:
    """Return the child of a LightningModule that holds all its parameters, or the module itself if no child does."""
    parameters = len(list(module.parameters()))
    for child in module.children():
        if parameters and len(list(child.parameters())) == parameters:
            return getattr(child, "_orig_mod", child)  # torch.compile wraps the net in another module
    return module
