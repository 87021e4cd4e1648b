"""Record mean and variance of the activation length of every measured layer at every optimizer step."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch import Tensor

from start_training.callbacks.contracts import GroupMoment, GroupRun, LengthsCallback
from start_training.lengths.coverage import Coverage
from start_training.lengths.forward_passes import measured_net
from start_training.lengths.layer_choice import check_layers
from start_training.recording.fit_directory import subdirectory_of_fit
from start_training.recording.length_writer import LengthWriter
from start_training.recording.measured_batches import pooled_steps
from start_training.recording.step_measurement import StepMeasurement
from start_training.recording.update_sizes import UpdateSizes
from start_training.runs.length_tables import StepRecord
from start_training.settings import PositiveInteger, checked


class ActivationLengths(pl.Callback, LengthsCallback):
    """Record the activation lengths M_j = ‖act_j‖² / n_j of layers 0 … d during training as two Parquet data sets.

    `start_training.lengths.layer_choice.choose_layers` describes which layers are measured; layer 0 is the input. What
    they cover is printed at the start, with a warning below 80% of the modules with weights. Step k is measured before
    the k-th update, so that step 0 is initialization. A step is a training step in which an optimizer steps; a batch
    that `training_step` skips has no row. With gradient accumulation, the micro-batches of a step are pooled. Both data
    sets can be read with `pandas.read_parquet`:

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
        layers: `auto`, `blocks`, `activations`, `weights`, or name patterns as in `fnmatch`; see `choose_layers`.
        modules: Another name of `layers`.
        sample_axis: The axis of samples in all layers, or by name pattern; None: found by the size of the batch.
        resume: Go on with the data sets of the newest fit in the directory, as a fit that resumes from a checkpoint
            always does. Rows of the step at which training starts, and of later steps, are replaced.
        log: Whether to log curves.
        log_every_n_steps: Log at most one step out of so many, whenever values are written.
        updates: Whether to write the table `updates/`, too. A run with it is not trained in a group of replicas.

    Attributes:
        tables_directory: The directory that contains both data sets of the newest fit.
        coverage: What the measured layers cover; None before the first step.

    Raises:
        ValueError: a setting is not allowed, or a pattern matches no module.
        RuntimeError: a batch trained the net, but no measured layer has ever run.

    Example:
        >>> import tempfile
        >>> from functools import partial
        >>> from torch.optim import SGD
        >>> from start_training.datamodules.digits import Digits
        >>> from start_training.models.classifier import Classifier
        >>> from start_training.models.fully_connected import FullyConnected
        >>> module = Classifier(FullyConnected(64, 10, depth=2, width=20), partial(SGD, lr=0.1), classes=10)
        >>> callback = ActivationLengths(tempfile.mkdtemp())
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> pl.Trainer(max_epochs=1, callbacks=[callback], enable_model_summary=False, **quiet).fit(module, Digits())
        ActivationLengths: 2 declared layers; 2 of 3 weighted modules lie between measured layers; not covered: readout
        >>> sorted(path.name for path in callback.tables_directory.iterdir())
        ['lengths', 'steps']
    """

    group_settings: ClassVar = {"updates": False}

    @checked
    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        every_n_steps: PositiveInteger = 1,
        flush_every_n_steps: PositiveInteger = 100,
        layers: str | Sequence[str] = "auto",
        modules: Sequence[str] | None = None,
        sample_axis: int | Mapping[str, int] | None = None,
        resume: bool = False,
        log: bool = True,
        log_every_n_steps: PositiveInteger = 50,
        updates: bool = False,
    ) -> None:
        self.directory = Path(directory) if directory is not None else None
        if modules is not None and layers != "auto":
            raise ValueError(f"modules = {modules}: is another name of layers, which is {layers}; set only one of them")
        self.every_n_steps, self.flush_every_n_steps, self.modules = every_n_steps, flush_every_n_steps, modules
        self.layers, self.layers_setting = (layers, "layers") if modules is None else (modules, "modules")
        self.sample_axis, self.updates = sample_axis, updates
        self.resume, self.log_every_n_steps = resume, log_every_n_steps
        self.log_curves = log  # Lightning sets `log` of each callback to the module's method
        self.tables_directory = Path()
        self.coverage: Coverage | None = None
        self._over_time: dict[str, float] = {}
        self._measurement: StepMeasurement | None = None
        self._updates: UpdateSizes | None = None
        self._writer: LengthWriter | None = None
        self._saved: dict[str, Any] = {}  # state of the newest fit, or of the one to go on with

    @property
    def state_key(self) -> str:
        patterns = None if self.layers == "auto" else self.layers  # as in checkpoints from before `layers`
        return self._generate_state_key(directory=str(self.directory), every=self.every_n_steps, modules=patterns)

    def state_dict(self) -> dict[str, Any]:
        if self._measurement is not None:
            self._saved |= self._measurement.state()
        over_time = {"growth_over_time": dict(self._over_time)} if self._over_time else {}
        return self._saved | over_time  # empty, and not in the checkpoint, in the run directories of this project

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = dict(state_dict)
        self._over_time = self._saved.pop("growth_over_time", {})

    def summary(self) -> dict[str, Any]:
        """Return what the measured layers cover, and how lengths of recurrent modules grow over time at first."""
        covered = {} if self.coverage is None else {"measured_layers": self.coverage.summary()}
        return covered | ({"growth_over_time": self._over_time} if self._over_time else {})

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
            self._choose_directory(trainer)
            self._writes(trainer.loggers, step, phased=self._measurement.steps.several).tables.truncate(step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert self._measurement is not None
        self._measurement.on_train_batch_start(batch)

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
        if self.coverage is None and self._measurement.choice is not None:
            self._over_time = self._over_time or self._measurement.growth_over_time
            self.coverage = self._measurement.choice.coverage
            if trainer.is_global_zero:
                self.coverage.report()
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
        if self._writer is not None:
            self._writer.tables.compact()
        if self._measurement.has_tried and not self._measurement.has_measured:
            warnings.warn("ActivationLengths measured nothing: training_step skipped all batches", stacklevel=2)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._measurement is not None:
            self._measurement.pause()
        # `_flush` is a collective operation: it needs all ranks.
        if trainer.world_size == 1 or getattr(exception, "on_all_ranks", False):
            self._flush(trainer, incomplete=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._measurement is not None:
            self._measurement.remove()
            self._measurement = None

    def group_start(self, run: GroupRun, moment: GroupMoment) -> bool:
        self.tables_directory = run.directory
        self._writes(run.loggers, moment.step)
        return False

    def group_lengths(self, names: Sequence[str], steps: Sequence[StepRecord], readings: NDArray[np.float64]) -> None:
        assert self._writer is not None
        self._writer.add(names, steps, readings)

    def group_flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def _measure(self, module: pl.LightningModule) -> None:
        if self._measurement is None:
            check_layers(measured_net(module), self.layers, self.layers_setting)
            self._measurement = StepMeasurement(
                module, self.layers, sample_axis=self.sample_axis, every_n_steps=self.every_n_steps
            )

    def _choose_directory(self, trainer: pl.Trainer) -> None:
        base, explicit = self.directory or Path(trainer.default_root_dir), self.directory is not None
        goes_on = self.resume or trainer.global_step > 0 or getattr(trainer, "ckpt_path", None) is not None
        subdirectory = subdirectory_of_fit(base, explicit=explicit, goes_on=goes_on, saved=self._saved)
        self.tables_directory, self._saved = base / subdirectory.get("subdirectory", ""), subdirectory

    def _writes(self, loggers: Iterable[Any], step: int, *, phased: bool = False) -> LengthWriter:
        every = self.log_every_n_steps if self.log_curves else None
        self._writer = LengthWriter(self.tables_directory, loggers, start=step, log_every_n_steps=every, phased=phased)
        return self._writer

    def _flush(self, trainer: pl.Trainer, *, incomplete: bool = False) -> None:
        if self._measurement is not None:
            measured = pooled_steps(self._measurement.take(incomplete=incomplete))
            if self._writer is not None:  # of rank 0
                tables = self._writer.tables
                updates = self._updates.write(tables, incomplete=incomplete) if self._updates is not None else ()
                self._writer.write(measured, updates)
