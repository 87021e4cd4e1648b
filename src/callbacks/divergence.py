"""Stop a run when its training loss is no longer finite."""

import math
from collections import deque
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from start_training.callbacks.contracts import call_implemented
from start_training.runs.outcome import Diverged

# On a GPU, the loss is read this number of steps later, since reading the newest loss would wait for the device.
# The number is fixed, so that all ranks check the same step and stop together.
GPU_LAG = 2


class Divergence(pl.Callback):
    """Raise `Diverged` after the first step whose loss is not finite on some rank; on a GPU up to two steps later.

    A callback with a method `recover` is asked first, see `contracts.RunReport`.

    Args:
        monitor: A metric that also ends the run if it is not finite at the end of an epoch, since a module that
            optimizes manually returns no loss; None: none.
    """

    def __init__(self, monitor: str | None = None) -> None:
        self.monitor = monitor
        self._pending: deque[tuple[int, Tensor, Any]] = deque()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pending.clear()
        self._lag = 0 if pl_module.device.type == "cpu" else GPU_LAG

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs  # None if the module skipped the batch
        if loss is None:
            return
        if trainer.world_size == 1 and not self._lag:
            if not math.isfinite(loss.item()):
                self._end(self._step, trainer, pl_module)
            return
        finite = loss.detach().isfinite()
        if trainer.world_size > 1:
            finite = finite.to(torch.uint8)
            torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
        arrived = None
        if finite.is_cuda:
            finite = finite.to("cpu", non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._pending.append((self._step, finite, arrived))
        self._check(self._lag, trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check(0, trainer, pl_module)
        value = trainer.callback_metrics.get(self.monitor) if self.monitor else None
        if value is not None and not math.isfinite(float(value)):
            raise Diverged(trainer.global_step - 1)

    def _check(self, lag: int, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        while len(self._pending) > lag:
            step, finite, arrived = self._pending.popleft()
            if arrived is not None:
                arrived.synchronize()
            if not finite:
                self._end(step, trainer, module)

    def _end(self, step: int, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not any(call_implemented(getattr(trainer, "callbacks", []), "recover", trainer, module)):
            raise Diverged(step)
        self._pending.clear()  # of steps that were undone
