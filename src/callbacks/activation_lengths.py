"""Record mean and variance of the activation length of every measured layer at every optimizer step."""

import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from start_training.callbacks.contracts import GroupMoment, GroupRun, LengthsCallback
from start_training.lengths.activation_length import activation_norms, lengths_of_layers
from start_training.lengths.capture import Capture
from start_training.lengths.statistics import Statistics, pack_statistics, pool, unpack_statistics
from start_training.ranks import gather
from start_training.runs.length_tables import StepRecord, length_rows, step_rows
from start_training.runs.table import Table
from start_training.settings import PositiveInteger, checked


class _Entry(NamedTuple):
    """The measurement of one micro-batch; `numbers` (from `pack_statistics`) and `loss` are still on the device."""

    step: int
    epoch: int
    learning_rate: float
    names: tuple[str, ...]
    numbers: Tensor
    loss: Tensor


class ActivationLengths(pl.Callback, LengthsCallback):
    """Record the activation lengths M_j = ‖act_j‖² / n_j of layers 0 … d during training as two Parquet data sets.

    `start_training.lengths.capture.Capture` describes which layers are measured; layer 0 is the input. Step k is
    measured before the k-th update, so that step 0 is initialization. With gradient accumulation, the micro-batches
    of a step are pooled. Both data sets can be read with `pandas.read_parquet`:

    - `lengths/` has a row for each step and layer: step, layer, name, the mean and variance (ddof 1) of M_j over the
      samples of the global batch, and the number of samples.
    - `steps/` has a row for each step: step, epoch, loss, learning_rate, growth_rate (failure mode 1), layer_variance
      and relative_layer_variance (failure mode 2), first_nonfinite_layer.

    Source: Hanin & Rolnick 2018 (arXiv:1803.01719).

    Args:
        directory: The directory of both data sets; None: the trainer's `default_root_dir`. Existing rows of the step at
            which training starts, and of later steps, are replaced.
        every_n_steps: Measure every n-th step only.
        flush_every_n_steps: Transfer values from the device and write them at least once per this many measured steps.
        modules: Name patterns, as in `fnmatch`, of the modules to measure.

    Raises:
        ValueError: a setting is not allowed, or a pattern matches no module.

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

    @checked
    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        every_n_steps: PositiveInteger = 1,
        flush_every_n_steps: PositiveInteger = 100,
        modules: Sequence[str] | None = None,
    ) -> None:
        self.directory = Path(directory) if directory is not None else None
        self.every_n_steps, self.flush_every_n_steps, self.modules = every_n_steps, flush_every_n_steps, modules
        self._capture: Capture | None = None
        self._entries: list[_Entry] = []
        self._names: tuple[str, ...] = ()
        self._values: list[int] = []  # values per sample of each layer measured in this pass
        self._divisors: tuple[list[int], Tensor] | None = (
            None  # `_values` of the last pass, as a list and on the device
        )
        self._memory = torch.empty(2, 0, 0, dtype=torch.float64)  # workspace for reductions, (2, layers, samples)
        self._numbers: Tensor | None = None
        self._step = 0
        self._learning_rate = math.nan
        self._run_directory = Path()
        self._of_group: list[tuple[list[StepRecord], NDArray[np.float64]]] = []  # not written yet

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and self._capture is None:  # hooks have to be registered before the net is compiled
            self._capture = Capture(measured_net(pl_module), self.modules, measure=self._measure)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._entries = []
        self._run_directory = Path(trainer.default_root_dir)
        if trainer.is_global_zero:
            for table in self._tables():
                table.truncate(trainer.global_step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._names, self._values, self._numbers = (), [], None
        self._step = trainer.global_step
        if self._step % self.every_n_steps == 0:
            self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
            assert self._capture is not None
            self._capture.start()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._reduce()  # before the backward pass, in which gradient checkpointing would run layers again

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._reduce()
        if self._numbers is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs  # None if the module skipped the batch
        loss = torch.tensor(math.nan) if loss is None else loss.detach() * trainer.accumulate_grad_batches
        rate = float(self._learning_rate)
        self._entries.append(_Entry(self._step, trainer.current_epoch, rate, self._names, self._numbers, loss))
        complete = trainer.global_step > self._step
        if complete and self._step - self._entries[0].step >= (self.flush_every_n_steps - 1) * self.every_n_steps:
            self._flush(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._flush(trainer)  # a run resumed from this checkpoint will not see these steps again

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._flush(trainer)
        if trainer.is_global_zero:
            for table in self._tables():
                table.compact()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # `_flush` is a collective operation: it needs all ranks.
        if trainer.world_size == 1 or getattr(exception, "on_all_ranks", False):
            self._flush(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._divisors, self._memory = None, self._memory.new_empty(2, 0, 0)  # free the memory
        if self._capture is not None:
            self._capture.remove()
            self._capture = None

    def group_start(self, run: GroupRun, moment: GroupMoment) -> bool:
        self._run_directory = run.directory
        return False

    def group_lengths(self, names: Sequence[str], steps: Sequence[StepRecord], readings: NDArray[np.float64]) -> None:
        self._names = tuple(names)
        self._of_group.append((list(steps), readings))

    def group_flush(self) -> None:
        pending, self._of_group = self._of_group, []
        if steps := [step for steps, _ in pending for step in steps]:
            self._write(self._names, steps, unpack_statistics(np.concatenate([readings for _, readings in pending])))

    def _measure(self, activation: Tensor) -> Tensor:
        norms, values = activation_norms(activation)
        self._values.append(values)
        return norms

    def _reduce(self) -> None:
        if self._capture is None or not self._capture.active:
            return
        readings = self._capture.stop()
        if not readings:
            raise RuntimeError("no measured layer ran: training_step has to call the net; if compiled, not before fit")
        self._names = tuple(name for name, _ in readings)
        norms = [norms for _, norms in readings]
        if len({layer.shape[0] for layer in norms}) == 1:
            self._numbers = self._read_at_once(norms)
        else:
            pairs = zip(norms, self._values, strict=True)
            self._numbers = pack_statistics([layer.double().square().div(values) for layer, values in pairs])

    def _read_at_once(self, norms: list[Tensor]) -> Tensor:
        """Reduce the norms of layers that have equal numbers of samples, four times as fast as layer by layer."""
        if self._divisors is None or self._divisors[0] != self._values:  # reused, as copying to a GPU waits for it
            values = torch.tensor(self._values, dtype=torch.float64, device=norms[0].device)
            self._divisors = self._values, values
        shape = (2, len(norms), norms[0].shape[0])
        if self._memory.shape != shape or self._memory.device != norms[0].device:
            self._memory = torch.empty(shape, dtype=torch.float64, device=norms[0].device)
        lengths, work = self._memory
        return pack_statistics(lengths_of_layers(norms, self._divisors[1], out=lengths), work)

    def _flush(self, trainer: pl.Trainer) -> None:
        entries, self._entries = self._entries, []
        for names, group in groupby(entries, key=lambda entry: entry.names):
            passes = list(group)
            numbers = torch.stack([entry.numbers for entry in passes])
            losses = torch.stack([entry.loss.reshape(1).to(numbers) for entry in passes])
            gathered = gather(torch.cat([numbers, losses], dim=1)).cpu().numpy()
            if trainer.is_global_zero:
                self._write(names, *_pooled(passes, gathered))

    def _write(self, names: Sequence[str], steps: Sequence[StepRecord], statistics: Statistics) -> None:
        lengths, of_steps = self._tables()
        lengths.append(length_rows(names, steps, statistics))
        of_steps.append(step_rows(steps, statistics))

    def _tables(self) -> list[Table]:
        return [Table((self.directory or self._run_directory) / name) for name in ("lengths", "steps")]


def measured_net(module: nn.Module) -> nn.Module:
    """Return the child of a LightningModule that holds all its parameters, or the module itself if no child does."""
    parameters = len(list(module.parameters()))
    for child in module.children():
        if parameters and len(list(child.parameters())) == parameters:
            return getattr(child, "_orig_mod", child)  # torch.compile wraps the net in another module
    return module


def _pooled(passes: list[_Entry], numbers: NDArray[np.float64]) -> tuple[list[StepRecord], Statistics]:
    """Pool measurements of shape (ranks, passes, numbers) over ranks and over the micro-batches of each step."""
    losses = numbers[..., -1].mean(0)
    by_pass = pool(unpack_statistics(numbers[..., :-1]))
    firsts = [index for index, entry in enumerate(passes) if not index or entry.step != passes[index - 1].step]
    if len(firsts) < len(passes):
        spans = [slice(*span) for span in pairwise([*firsts, len(passes)])]
        losses = np.array([losses[span].mean() for span in spans])
        of_steps = (pool(Statistics(*(values[span] for values in by_pass))) for span in spans)
        by_pass = Statistics(*(np.stack(values) for values in zip(*of_steps, strict=True)))
    pairs = zip((passes[index] for index in firsts), losses, strict=True)
    steps = [StepRecord(entry.step, entry.epoch, entry.learning_rate, float(loss)) for entry, loss in pairs]
    return steps, by_pass
