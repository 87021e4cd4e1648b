"""Optimizer steps at chosen learning rates, outside the training loop, which are undone afterwards."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import count, islice
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.optim import Optimizer

from start_training.callbacks.evaluation import transferred
from start_training.callbacks.snapshot import restored
from start_training.streams import isolate_random_streams


@contextmanager
def on_trial(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator["TrialUpdates"]:
    """Optimizer steps on the training batches in their order, which are undone at the end of the block.

    Restored, also after an error, are the weights, buffers, modes, metrics and other plain attributes of all modules,
    the optimizer's state, rates and momenta, the scaler of 16-bit training, the loaders' positions and all random
    streams. Within the block no callback's hook is called, nothing is logged, and the trainer counts no steps.
    """
    loaders = _training_loaders(trainer)
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    held = [*module.modules(), *trainer.optimizers, *_with_samplers(loaders), *([scaler] if scaler else [])]
    callbacks, loggers = vars(trainer)["callbacks"], trainer.loggers  # its class does not declare the first
    # Anomaly detection is off: a range test goes on until its loss is not finite.
    with restored(*held), isolate_random_streams(), torch.autograd.set_detect_anomaly(False):
        try:
            vars(trainer)["callbacks"], trainer.loggers = [], [DummyLogger() for _ in loggers]
            for child in module.modules():
                if isinstance(child, pl.LightningModule):
                    vars(child)["log"] = lambda *_, **__: None
            yield TrialUpdates(trainer, module)
        finally:
            vars(trainer)["callbacks"], trainer.loggers = callbacks, loggers


class TrialUpdates:
    """Optimizer steps like the trainer's, with its strategy, precision, clipping and accumulation.

    Momentum is the one that the optimizer was constructed with, even if a schedule has changed it.
    """

    def __init__(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._trainer, self._module = trainer, module
        self._optimizer: Optimizer = trainer.optimizers[0]
        groups = self._optimizer.param_groups
        rates = [float(group.get("initial_lr", group["lr"])) for group in groups]
        self._ratios = [rate / max(rates) if max(rates) else 1.0 for rate in rates]
        if trainer.lr_scheduler_configs:
            for key in ("momentum", "betas"):
                for group in groups if key in self._optimizer.defaults else []:
                    group[key] = self._optimizer.defaults[key]
        self._batches = _batches(trainer)

    def update(self, rate: float) -> Tensor:
        """Take one optimizer step.

        Args:
            rate: The learning rate of the parameter group with the largest one; the others keep their ratios to it.
        Returns:
            The loss before the step on this rank's part of the batch, a mean over accumulated batches.
        """
        trainer, module = self._trainer, self._module
        batches = [next(self._batches) for _ in range(trainer.accumulate_grad_batches)]
        losses: dict[int, Tensor] = {}

        def closure(position: int) -> Tensor:
            batch, index = batches[position]
            self._set_rates(rate)  # here, because a module's own optimizer_step may set another one
            with torch.enable_grad():
                loss = _loss(trainer.strategy.training_step(*_arguments(module, batch, index)))
                losses.setdefault(position, loss.detach())  # some optimizers ask for it several times
                if position == 0:
                    module.on_before_zero_grad(self._optimizer)
                    module.optimizer_zero_grad(trainer.current_epoch, index, self._optimizer)
                trainer.strategy.backward(loss / len(batches), self._optimizer)
            return loss

        *others, last = range(len(batches))
        strategy = trainer.strategy
        for position in others:
            with strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext():
                closure(position)
        optimizer: Any = module.optimizers()
        module.optimizer_step(trainer.current_epoch, batches[last][1], optimizer, lambda: closure(last))
        return torch.stack([loss.double() for loss in losses.values()]).mean()

    def _set_rates(self, rate: float) -> None:
        for group, ratio in zip(self._optimizer.param_groups, self._ratios, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * ratio)
            else:
                group["lr"] = rate * ratio


def _batches(trainer: pl.Trainer) -> Iterator[tuple[Any, int]]:
    """Training batches on their device, with their indices in an epoch, from the current epoch on, without end."""
    combined = copy.copy(trainer.fit_loop._combined_loader)
    assert combined is not None
    limit = trainer.num_training_batches
    for loader in combined.flattened:
        if getattr(loader, "_iterator", None) is not None:
            loader._iterator = None  # persistent workers have already loaded batches of the run
    for epoch in count(trainer.current_epoch):
        for part in _with_samplers(combined.flattened):
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        for batch, index, _ in islice(combined, None if limit == float("inf") else int(limit)):
            yield transferred(trainer, batch), index


def _training_loaders(trainer: pl.Trainer) -> list[Any]:
    combined = trainer.fit_loop._combined_loader
    assert combined is not None
    for loader in combined.flattened:
        if isinstance(loader, Iterator):
            name = type(loader).__name__
            raise ValueError(f"{name}: training data that can be gone through once cannot be tried out before")
    return combined.flattened


def _with_samplers(loaders: list[Any]) -> list[Any]:
    """Loaders and their samplers, which hold the position within an epoch."""
    parts = []
    for loader in loaders:
        batch_sampler = getattr(loader, "batch_sampler", None)
        parts += [loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)]
    return [part for part in parts if hasattr(part, "__dict__")]


def _arguments(module: pl.LightningModule, batch: Any, index: int) -> tuple[Any, ...]:
    return (batch, index) if is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2) else (batch,)


def _loss(output: Any) -> Tensor:
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        raise ValueError(f"training_step: returned {output!r}, without a loss to look at")
    return loss
