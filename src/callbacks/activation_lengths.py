"""Record every measured layer's activation length and its variance, at every optimizer step."""

import math
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from src.lengths.capture import Capture
from src.lengths.growth_rate import first_nonfinite_layer, growth_rate
from src.lengths.statistics import Statistics, pool, reading, unpack
from src.ranks import gather
from src.runs.outcome import Diverged, Interrupted
from src.runs.table import Table
from src.settings import positive_integer


class _Entry(NamedTuple):
    """One forward and backward pass: where it stood, and on the device, what it measured and its loss."""

    step: int
    epoch: int
    learning_rate: float
    names: tuple[str, ...]
    numbers: Tensor


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
    measure; what is measured without them, and of which nets: see `src.lengths.capture.Capture`.
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
        self._numbers: Tensor | None = None
        self._step = 0
        self._learning_rate = math.nan

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and self._capture is None:  # before anything is compiled
            self._capture = Capture(measured_net(pl_module), self.modules)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._entries = []
        if trainer.is_global_zero:
            for table in self._tables(trainer).values():
                table.truncate(trainer.global_step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._names, self._numbers = (), None
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
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        loss = self._numbers.new_full((), math.nan) if loss is None else loss.detach() * trainer.accumulate_grad_batches
        numbers = torch.cat([self._numbers, loss.reshape(1).to(self._numbers)])
        self._entries.append(
            _Entry(self._step, trainer.current_epoch, float(self._learning_rate), self._names, numbers)
        )
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
        if self._capture is not None:
            self._capture.remove()
            self._capture = None

    def _reduce(self) -> None:
        if self._capture is None or not self._capture.active:
            return
        readings = self._capture.stop()
        if not readings:
            raise RuntimeError(
                "no measured layer ran in the training step: was the net compiled and called before training began?"
            )
        self._names = tuple(name for name, _ in readings)
        self._numbers = reading([lengths for _, lengths in readings])

    def _flush(self, trainer: pl.Trainer) -> None:
        entries, self._entries = self._entries, []
        for names, group in groupby(entries, key=lambda entry: entry.names):
            passes = list(group)
            numbers = torch.stack([entry.numbers for entry in passes])
            gathered = gather(numbers).cpu().numpy()
            if trainer.is_global_zero:
                rows = _pooled(passes, gathered)
                tables = self._tables(trainer)
                tables["lengths"].append(_length_rows(names, *rows))
                tables["steps"].append(_step_rows(*rows))

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


class _Step(NamedTuple):
    step: int
    epoch: int
    learning_rate: float
    loss: float


def _pooled(passes: list[_Entry], numbers: NDArray[np.float64]) -> tuple[list[_Step], Statistics]:
    """Pool (ranks, passes, numbers) over ranks and over the passes of a step; one entry per step."""
    losses = numbers[..., -1].mean(0)
    by_pass = pool(unpack(numbers[..., :-1]))
    steps, pooled = [], []
    for _, group in groupby(range(len(passes)), key=lambda index: passes[index].step):
        indices = list(group)
        first = passes[indices[0]]
        steps.append(_Step(first.step, first.epoch, first.learning_rate, float(losses[indices].mean())))
        of_step = Statistics(*(values[indices] for values in by_pass))
        pooled.append(pool(of_step) if len(indices) > 1 else Statistics(*(values[0] for values in of_step)))
    return steps, Statistics(*(np.stack(values) for values in zip(*pooled, strict=True)))


def _length_rows(names: tuple[str, ...], steps: list[_Step], statistics: Statistics) -> pd.DataFrame:
    layers = len(names)
    return pd.DataFrame(
        {
            "step": np.repeat([step.step for step in steps], layers),
            "layer": np.tile(np.arange(layers, dtype=np.int32), len(steps)),
            "name": np.tile(np.array(names, dtype=object), len(steps)),
            "mean": statistics.mean.ravel(),
            "variance": statistics.variance.ravel(),
            "count": statistics.counts.ravel().astype(np.int64),
        }
    )


def _step_rows(steps: list[_Step], statistics: Statistics) -> pd.DataFrame:
    first = pd.Series(first_nonfinite_layer(statistics.mean), dtype="Int64")
    return pd.DataFrame(steps)[["step", "epoch", "loss", "learning_rate"]].assign(
        growth_rate=growth_rate(statistics.mean),
        layer_variance=statistics.layer_variance,
        relative_layer_variance=statistics.relative_layer_variance,
        first_nonfinite_layer=first.mask(first < 0),
    )
