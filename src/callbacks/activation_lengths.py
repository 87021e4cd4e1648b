"""Record every measured layer's activation length and its variance, at every optimizer step."""

import math
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from start_training.lengths.activation_length import activation_norms, lengths_of_layers
from start_training.lengths.capture import Capture
from start_training.lengths.statistics import Statistics, pack_statistics, pool, unpack_statistics
from start_training.ranks import gather
from start_training.runs.length_tables import Step, length_rows, step_rows
from start_training.runs.outcome import Diverged, Interrupted
from start_training.runs.table import Table
from start_training.settings import positive_integer


class _Entry(NamedTuple):
    """One forward and backward pass: where it stood, and on the device, what it measured and its loss."""

    step: int
    epoch: int
    learning_rate: float
    names: tuple[str, ...]
    numbers: Tensor
    loss: Tensor


class ActivationLengths(pl.Callback):
    """Lengths M_j = ‖act_j‖² / n_j of layers 0 … d in training, as two Parquet data sets.

    `lengths/`: step, layer, name, mean and variance (ddof 1) of M_j over the samples of the global batch,
    count. `steps/`: step, epoch, loss, learning_rate, growth_rate (FM1), layer_variance and
    relative_layer_variance (FM2), first_nonfinite_layer. Step k is measured before the k-th update, so
    step 0 is initialization. Under gradient accumulation a step's micro-batches are pooled.

    directory: where both are written; the trainer's `default_root_dir` by default. Rows of the step at
    which training starts, and later ones, are replaced. every_n_steps: measure every n-th step only.
    flush_every_n_steps: rows reach the disk no later than after so many measured steps; this is also the
    only transfer from the device, and the only collective. modules: name patterns of the modules to
    measure; what is measured without them, and of which nets: see `start_training.lengths.capture.Capture`.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719).
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        every_n_steps: int = 1,
        flush_every_n_steps: int = 100,
        modules: list[str] | None = None,
    ) -> None:
        self.directory = Path(directory) if directory is not None else None
        self.every_n_steps = positive_integer("every_n_steps", every_n_steps)
        self.flush_every_n_steps = positive_integer("flush_every_n_steps", flush_every_n_steps)
        self.modules = modules
        self._capture: Capture | None = None
        self._entries: list[_Entry] = []
        self._names: tuple[str, ...] = ()
        self._values: list[int] = []  # per sample, of each layer measured in this pass
        self._divisors: tuple[list[int], Tensor] | None = None  # the values of the last pass, also on its device
        self._memory = torch.empty(2, 0, 0, dtype=torch.float64)  # to reduce in: (2, layers, samples)
        self._numbers: Tensor | None = None
        self._step = 0
        self._learning_rate = math.nan

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and self._capture is None:  # before anything is compiled
            self._capture = Capture(measured_net(pl_module), self.modules, measure=self._measure)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._entries = []
        if trainer.is_global_zero:
            for table in self._tables(trainer).values():
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
        self._reduce()  # here, because gradient checkpointing runs layers again in the backward pass

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._reduce()
        if self._numbers is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs  # none where the module skipped the batch
        loss = torch.tensor(math.nan) if loss is None else loss.detach() * trainer.accumulate_grad_batches
        where = (self._step, trainer.current_epoch, float(self._learning_rate))
        self._entries.append(_Entry(*where, self._names, self._numbers, loss))
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
            for table in self._tables(trainer).values():
                table.compact()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # All ranks are here together only if they agreed to stop, or if there is one.
        if trainer.world_size == 1 or isinstance(exception, Diverged | Interrupted):
            self._flush(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._divisors, self._memory = None, self._memory.new_empty(2, 0, 0)  # the next training has its own
        if self._capture is not None:
            self._capture.remove()
            self._capture = None

    def _measure(self, activation: Tensor) -> Tensor:
        norms, values = activation_norms(activation)
        self._values.append(values)
        return norms

    def _reduce(self) -> None:
        if self._capture is None or not self._capture.active:
            return
        readings = self._capture.stop()
        if not readings:
            raise RuntimeError(
                "no measured layer ran in the training step: was the net compiled and called before training began?"
            )
        self._names = tuple(name for name, _ in readings)
        norms = [norms for _, norms in readings]
        if len({layer.shape[0] for layer in norms}) == 1:
            self._numbers = self._read_at_once(norms)
        else:
            pairs = zip(norms, self._values, strict=True)
            self._numbers = pack_statistics([layer.double().square().div(values) for layer, values in pairs])

    def _read_at_once(self, norms: list[Tensor]) -> Tensor:
        """The reading of layers of equally many samples, in a quarter of the time that each by itself takes."""
        if self._divisors is None or self._divisors[0] != self._values:  # to copy them to a GPU waits for it
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
                rows = _pooled(passes, gathered)
                tables = self._tables(trainer)
                tables["lengths"].append(length_rows(names, *rows))
                tables["steps"].append(step_rows(*rows))

    def _tables(self, trainer: pl.Trainer) -> dict[str, Table]:
        directory = self.directory or Path(trainer.default_root_dir)
        return {name: Table(directory / name) for name in ("lengths", "steps")}


def measured_net(module: nn.Module) -> nn.Module:
    """The child that holds all of a module's parameters (a LightningModule's net), or else the module."""
    parameters = len(list(module.parameters()))
    for child in module.children():
        if parameters and len(list(child.parameters())) == parameters:
            return getattr(child, "_orig_mod", child)  # what torch.compile wraps
    return module


def _pooled(passes: list[_Entry], numbers: NDArray[np.float64]) -> tuple[list[Step], Statistics]:
    """Pool (ranks, passes, numbers) over ranks and over the passes of a step; one entry per step."""
    losses = numbers[..., -1].mean(0)
    by_pass = pool(unpack_statistics(numbers[..., :-1]))
    firsts = [index for index, entry in enumerate(passes) if not index or entry.step != passes[index - 1].step]
    if len(firsts) < len(passes):
        spans = [slice(*span) for span in pairwise([*firsts, len(passes)])]
        losses = np.array([losses[span].mean() for span in spans])
        of_steps = (pool(Statistics(*(values[span] for values in by_pass))) for span in spans)
        by_pass = Statistics(*(np.stack(values) for values in zip(*of_steps, strict=True)))
    entries = (passes[index] for index in firsts)
    steps = [
        Step(entry.step, entry.epoch, entry.learning_rate, float(loss))
        for entry, loss in zip(entries, losses, strict=True)
    ]
    return steps, by_pass
